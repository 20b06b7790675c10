package install

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/trust"
)

const day = 24 * time.Hour

// stored reads the Secrets of identities.
func stored(t *testing.T, r *Reach) map[string]*corev1.Secret {
	t.Helper()
	found, err := r.existing(t.Context(), Namespace, SecretAuthority, SecretControl, SecretGateway, SecretOperator)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// papersIn are those of a certificate in a Secret, as of a time.
func papersIn(t *testing.T, s *corev1.Secret, base string, bundle []byte, now time.Time) *trust.Papers {
	t.Helper()
	p, err := trust.ParsePapers(trust.PEM{Certificate: s.Data[base+".crt"], Key: s.Data[base+".key"], Bundle: bundle}, now)
	if err != nil {
		t.Fatalf("%s of %s: %v", base, s.Name, err)
	}
	return p
}

// rewritten changes a Secret as somebody with kubectl would.
func rewritten(t *testing.T, r *Reach, name string, change func(*corev1.Secret)) {
	t.Helper()
	s, err := r.kube.CoreV1().Secrets(Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	if _, err := r.kube.CoreV1().Secrets(Namespace).Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// byAccount reaches the server with a token of a ServiceAccount of the chart.
func byAccount(t *testing.T, r *Reach, account string) *Reach {
	t.Helper()
	token, err := r.kube.CoreV1().ServiceAccounts(Namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(r.Config)
	cfg.BearerToken = token.Status.Token
	as, err := NewReach("as "+account, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// TestRenew: certificates in a real API server are renewed when it is time, by the
// account that the chart makes for it, and nothing else is written or seen.
func TestRenew(t *testing.T) {
	host := reach(t, started(t, "host", "10.1.0.3"))
	ctx, now := t.Context(), time.Now()
	installed := func() Outcome {
		t.Helper()
		_, did, err := Init(ctx, host, Settings{Region: "europe-west1", CertificateLifetime: 60 * day}, false, Progress{})
		if err != nil {
			t.Fatal(err)
		}
		return did
	}

	if done, err := Renew(ctx, host, Namespace, now, Progress{}); err != nil || len(done.Renewals)+done.Good > 0 {
		t.Errorf("where nothing is installed: %+v %v", done, err)
	}
	installed()
	first := stored(t, host)

	t.Run("nothing is due", func(t *testing.T) {
		done, err := Renew(ctx, host, "", now.Add(39*day), Progress{})
		if err != nil || len(done.Renewals) != 0 || done.Good != 4 {
			t.Fatalf("%+v %v", done, err)
		}
		for name, s := range stored(t, host) {
			if s.ResourceVersion != first[name].ResourceVersion {
				t.Errorf("%s was written", name)
			}
		}
	})

	later := now.Add(41 * day)
	t.Run("it is time, by the account of the CronJob", func(t *testing.T) {
		account := byAccount(t, host, "meridian-renew")
		due, err := Due(ctx, account, Namespace, later)
		if err != nil || len(due.Renewals) != 4 || due.Good != 0 {
			t.Fatalf("due: %+v %v", due, err)
		}
		if s := stored(t, host)[SecretControl]; s.ResourceVersion != first[SecretControl].ResourceVersion {
			t.Error("a dry run wrote")
		}
		var said bytes.Buffer
		done, err := Renew(ctx, account, Namespace, later, Progress{W: &said})
		if err != nil || len(done.Renewals) != 4 {
			t.Fatalf("%+v %v", done, err)
		}
		if !strings.Contains(said.String(), "Secret meridiand-identity: meridiand-0.crt of spiffe://meridian.internal/control/europe-west1/europe-west1.meridiand-0 had less than a third") {
			t.Errorf("%s", &said)
		}
		second := stored(t, host)
		if second[SecretAuthority].ResourceVersion != first[SecretAuthority].ResourceVersion {
			t.Error("the authority was written")
		}
		for _, c := range []struct{ secret, base string }{{SecretControl, "meridiand-0"}, {SecretControl, "meridiand-1"}, {SecretGateway, "tls"}, {SecretOperator, "tls"}} {
			a, b := first[c.secret], second[c.secret]
			if bytes.Equal(a.Data[c.base+".crt"], b.Data[c.base+".crt"]) || bytes.Equal(a.Data[c.base+".key"], b.Data[c.base+".key"]) {
				t.Errorf("%s of %s is the old one", c.base, c.secret)
			}
			// While they are swapped, old and new stand before each other's authorities.
			old, fresh := papersIn(t, a, c.base, b.Data["ca.crt"], later), papersIn(t, b, c.base, a.Data["ca.crt"], later)
			if old.Identity() != fresh.Identity() {
				t.Errorf("%s became %s", old.Identity(), fresh.Identity())
			}
			if want := later.Add(60 * day); fresh.NotAfter().Sub(want).Abs() > time.Second {
				t.Errorf("it is good until %s, want %s", fresh.NotAfter(), want)
			}
		}
		if again, err := Renew(ctx, account, Namespace, later, Progress{}); err != nil || len(again.Renewals) != 0 || again.Good != 4 {
			t.Errorf("again: %+v %v", again, err)
		}
	})

	t.Run("that account can do nothing else", func(t *testing.T) { onlyRenews(t, host) })

	t.Run("init finds in order what was renewed", func(t *testing.T) {
		installed() // today's certificates again
		rewritten(t, host, SecretGateway, func(s *corev1.Secret) {
			other, err := trust.NewAuthority("meridian.internal")
			if err != nil {
				t.Fatal(err)
			}
			s.Data["ca.crt"] = other.Bundle()
		})
		done, err := Renew(ctx, host, Namespace, now.Add(time.Minute), Progress{})
		if err != nil || len(done.Renewals) != 1 || !strings.Contains(done.Renewals[0].Why, "without the one in force") {
			t.Fatalf("%+v %v", done, err)
		}
		if got := stored(t, host)[SecretGateway]; !bytes.Equal(got.Data["ca.crt"], first[SecretAuthority].Data["ca.crt"]) {
			t.Error("it trusts the old authority")
		}
		if did := installed(); did.Created+did.Changed > 0 {
			t.Errorf("init writes again: %s", did)
		}
	})

	t.Run("a new authority is followed", func(t *testing.T) {
		next, err := trust.NewAuthority("meridian.internal")
		if err != nil {
			t.Fatal(err)
		}
		key, err := next.Key()
		if err != nil {
			t.Fatal(err)
		}
		rewritten(t, host, SecretAuthority, func(s *corev1.Secret) {
			s.Data["ca.crt"], s.Data["ca.key"] = append(next.Bundle(), s.Data["ca.crt"]...), key
		})
		done, err := Renew(ctx, host, Namespace, now.Add(time.Minute), Progress{})
		if err != nil || len(done.Renewals) != 4 {
			t.Fatalf("%+v %v", done, err)
		}
		s := stored(t, host)[SecretControl]
		papersIn(t, s, "meridiand-0", next.Bundle(), now.Add(time.Minute))
		papersIn(t, s, "meridiand-0", s.Data["ca.crt"], now.Add(time.Minute))
	})

	t.Run("what is broken or foreign stops nobody", func(t *testing.T) { renewsTheRest(t, host, now.Add(41*day)) })

	t.Run("who was faster is not written over", func(t *testing.T) {
		read := stored(t, host)[SecretOperator]
		rewritten(t, host, SecretOperator, func(s *corev1.Secret) { s.Annotations = map[string]string{"a": "b"} })
		if err := host.replace(ctx, read); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "somebody else") {
			t.Errorf("got %v", err)
		}
		if err := host.kube.CoreV1().Secrets(Namespace).Delete(ctx, SecretOperator, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := host.replace(ctx, read); err == nil {
			t.Error("what was deleted came back")
		}
	})
}

// onlyRenews: the account of the CronJob sees the Secrets that it needs.
func onlyRenews(t *testing.T, host *Reach) {
	ctx := t.Context()
	account := byAccount(t, host, "meridian-renew")
	secrets := account.kube.CoreV1().Secrets(Namespace)
	rewrittenElsewhere := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "member-us-1", Namespace: Namespace}}
	if _, err := host.kube.CoreV1().Secrets(Namespace).Create(ctx, rewrittenElsewhere, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Get(ctx, "member-us-1", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another Secret: %v", err)
	}
	if _, err := secrets.List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("all Secrets: %v", err)
	}
	for what, try := range map[string]func(context.Context) error{
		"writing the authority": func(ctx context.Context) error {
			_, err := secrets.Patch(ctx, SecretAuthority, "application/merge-patch+json", []byte(`{}`), metav1.PatchOptions{})
			return err
		},
		"making a Secret": func(ctx context.Context) error {
			_, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		},
		"deleting one": func(ctx context.Context) error { return secrets.Delete(ctx, SecretGateway, metav1.DeleteOptions{}) },
		"reading a pod": func(ctx context.Context) error {
			_, err := account.kube.CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{})
			return err
		},
	} {
		if err := try(ctx); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// renewsTheRest: one certificate is unreadable, one claims to be of somebody who has
// no place there, one Secret is of somebody else; the last one is renewed.
func renewsTheRest(t *testing.T, host *Reach, now time.Time) {
	ctx := t.Context()
	before := stored(t, host)
	authority, err := trust.LoadAuthority(before[SecretAuthority].Data["ca.crt"], before[SecretAuthority].Data["ca.key"])
	if err != nil {
		t.Fatal(err)
	}
	climber, err := authority.Issue(trust.Request{Identity: trust.Identity{Domain: "meridian.internal", Role: trust.Operator, Region: people, Name: "mallory"}, Lifetime: day})
	if err != nil {
		t.Fatal(err)
	}
	rewritten(t, host, SecretControl, func(s *corev1.Secret) {
		s.Data["meridiand-0.crt"] = []byte("no certificate")
		s.Data["meridiand-2.crt"], s.Data["meridiand-2.key"] = climber.Certificate, climber.Key
	})
	rewritten(t, host, SecretGateway, func(s *corev1.Secret) { s.Labels = nil })
	done, err := Renew(ctx, host, Namespace, now, Progress{})
	for _, want := range []string{"meridiand-0.crt in Secret meridian-system/meridiand-identity: it cannot be read", "operator/global/mallory, who has no place in that Secret", `run "meridian init" again`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	var keys []string
	for _, r := range done.Renewals {
		keys = append(keys, r.Secret+"/"+r.Key)
	}
	if got := strings.Join(keys, " "); got != SecretOperator+"/tls.crt "+SecretControl+"/meridiand-1.crt" {
		t.Errorf("renewed: %s", got)
	}
	after := stored(t, host)
	if !bytes.Equal(after[SecretGateway].Data["tls.crt"], before[SecretGateway].Data["tls.crt"]) {
		t.Error("a Secret of somebody else was written")
	}
	if string(after[SecretControl].Data["meridiand-0.crt"]) != "no certificate" || !bytes.Equal(after[SecretControl].Data["meridiand-2.crt"], climber.Certificate) {
		t.Error("what cannot be renewed was written")
	}
	papersIn(t, after[SecretControl], "meridiand-1", after[SecretControl].Data["ca.crt"], now)
}
