package apply

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
)

// account is the ServiceAccount on behalf of which a workload is carried out. The zero
// account is nobody: then our own rights count.
type account struct{ namespace, name string }

// nobody is the zero account.
func (a account) nobody() bool { return a.name == "" }

// user is what API servers call it.
func (a account) user() string {
	return "system:serviceaccount:" + a.namespace + ":" + a.name
}

// groups are those that API servers put it into.
func (a account) groups() []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + a.namespace, "system:authenticated"}
}

// account is that of a workload, or else the installation's own choice.
func (w *workload) account(standard string) account {
	switch {
	case w.template.Account != "":
		return account{w.object.Namespace, w.template.Account}
	case standard != "":
		return account{w.object.Namespace, standard}
	}
	return account{}
}

type accountKey struct{}

// in has the requests of a context made in the account's name.
func (a account) in(ctx context.Context) context.Context {
	if a.nobody() {
		return ctx
	}
	return context.WithValue(ctx, accountKey{}, a)
}

// behalf makes requests in the name of the account that their contexts carry. All
// accounts share the connections below it. Groups are left to the API server, which knows
// those of an account: who names them needs rights on groups too.
type behalf struct{ next http.RoundTripper }

// RoundTrip adds whose name the request is made in.
func (b behalf) RoundTrip(req *http.Request) (*http.Response, error) {
	if a, ok := req.Context().Value(accountKey{}).(account); ok {
		req = req.Clone(req.Context())
		req.Header.Set(authenticationv1.ImpersonateUserHeader, a.user())
	}
	return b.next.RoundTrip(req)
}

// WrappedRoundTripper is what carries the requests.
func (b behalf) WrappedRoundTripper() http.RoundTripper { return b.next }

// onBehalf is a client like another, by which requests can be made in the name of
// accounts.
func onBehalf(cfg *rest.Config, client *http.Client) (*http.Client, error) {
	if client == nil {
		var err error
		if client, err = rest.HTTPClientFor(cfg); err != nil {
			return nil, err
		}
	}
	out := *client
	if out.Transport == nil {
		out.Transport = http.DefaultTransport
	}
	out.Transport = behalf{out.Transport}
	return &out, nil
}
