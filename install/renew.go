package install

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/trust"
)

// Renewal is one thing in a Secret that was made anew.
type Renewal struct {
	Secret   string         // its name
	Key      string         // of the certificate; ca.crt: only the authorities that are trusted
	Identity trust.Identity // zero for ca.crt, and in a dedicated API
	Name     string         // of whoever it certifies in a dedicated API
	Until    time.Time      // zero for ca.crt
	Why      string         // it was made anew
}

// Renewed is what renewing did, or would do.
type Renewed struct {
	Renewals []Renewal // sorted by Secret and key
	Good     int       // certificates that were left as they are
}

// renewer looks at the Secrets of one installation.
type renewer struct {
	reach     *Reach
	namespace string
	now       time.Time
	authority *trust.Authority
	bundle    []byte
}

// Due says what Renew would do, and does nothing.
func Due(ctx context.Context, reach *Reach, namespace string, now time.Time) (Renewed, error) {
	return renewAll(ctx, reach, namespace, now, func(*corev1.Secret, []Renewal) error { return nil })
}

// Renew issues certificates anew that have expired, that have less than a third of
// their lives left, or that another authority has issued than the one in force, and
// has everybody trust that one; those of a dedicated API too, but for its authority. Identities and lifetimes stay. Only Secrets that
// "meridian init" made are touched, and one that is broken stops no other. A Secret
// that changes meanwhile is left to whoever changed it.
func Renew(ctx context.Context, reach *Reach, namespace string, now time.Time, p Progress) (Renewed, error) {
	return renewAll(ctx, reach, namespace, now, func(s *corev1.Secret, renewals []Renewal) error {
		if err := reach.replace(ctx, s); err != nil {
			return err
		}
		for _, r := range renewals {
			p.Say("  %s", r)
		}
		return nil
	})
}

// replace writes a Secret of ours that was read before. Who was faster is not
// written over, and what is gone does not come back.
func (r *Reach) replace(ctx context.Context, s *corev1.Secret) error {
	o := identitySecret(s.Namespace, s.Name, s.Type, s.Data)
	o.SetResourceVersion(s.ResourceVersion)
	o.SetUID(s.UID)
	client := r.dynamic.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(s.Namespace)
	_, err := client.Apply(ctx, s.Name, o, metav1.ApplyOptions{FieldManager: manager, Force: true})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%s was changed by somebody else meanwhile and is left as it is; run \"meridian certs renew\" again: %w", name(o), err)
	}
	return r.explain("renewing "+name(o), err)
}

// String is the renewal as people read it.
func (r Renewal) String() string {
	if r.Key == trust.BundleFile {
		return fmt.Sprintf("Secret %s: %s %s", r.Secret, r.Key, r.Why)
	}
	return fmt.Sprintf("Secret %s: %s of %s %s; now good until %s UTC", r.Secret, r.Key, r.Who(), r.Why, r.Until.UTC().Format(time.DateTime))
}

// Who it certifies, by the name that servers know.
func (r Renewal) Who() string {
	if r.Name != "" {
		return r.Name
	}
	return r.Identity.String()
}

func (r Renewal) compare(o Renewal) int {
	return cmp.Or(cmp.Compare(r.Secret, o.Secret), cmp.Compare(r.Key, o.Key))
}

// roles are who is certified in which Secret. A Secret's own words are not enough:
// whoever can write one could have himself made something else.
func roles() map[string]trust.Role {
	return map[string]trust.Role{SecretControl: trust.Control, SecretGateway: trust.Gateway, SecretOperator: trust.Operator}
}

func renewAll(ctx context.Context, reach *Reach, namespace string, now time.Time, write func(*corev1.Secret, []Renewal) error) (Renewed, error) {
	namespace = cmp.Or(namespace, Namespace)
	var done Renewed
	if err := reach.version(); err != nil { // said once, and not for every Secret
		return done, err
	}
	var faults []error
	mine := map[string]*corev1.Secret{}
	for _, n := range slices.Sorted(maps.Keys(roles())) {
		found, err := reach.existing(ctx, namespace, n)
		if err != nil {
			faults = append(faults, err)
		} else if s := found[n]; s != nil && made(s) {
			mine[n] = s
		}
	}
	api, err := renewAPI(ctx, reach, namespace, now, write)
	if err != nil {
		faults = append(faults, err)
	}
	done.Good, done.Renewals = api.Good, api.Renewals
	if len(mine) == 0 { // nothing that an authority of ours would be needed for
		return done, errors.Join(faults...)
	}
	r := &renewer{reach: reach, namespace: namespace, now: now}
	if err := r.open(ctx); err != nil {
		return done, errors.Join(append(faults, err)...)
	}
	for _, n := range slices.Sorted(maps.Keys(mine)) {
		fresh, renewals, good, err := r.renew(mine[n])
		if err != nil {
			faults = append(faults, err)
		}
		done.Good += good
		if len(renewals) == 0 {
			continue
		}
		if err := write(fresh, renewals); err != nil {
			faults = append(faults, err)
			continue
		}
		done.Renewals = append(done.Renewals, renewals...)
	}
	slices.SortFunc(done.Renewals, Renewal.compare)
	return done, errors.Join(faults...)
}

// open takes the authority in force.
func (r *renewer) open(ctx context.Context) error {
	p, err := r.reach.Authority(ctx, r.namespace)
	if err != nil {
		return err
	}
	if r.authority, err = trust.LoadAuthority(p.Certificate, p.Key); err == nil {
		_, err = trust.ParseBundle(p.Certificate)
	}
	if err != nil {
		return fmt.Errorf("the authority in Secret %s/%s: %w", r.namespace, SecretAuthority, err)
	}
	r.bundle = p.Certificate
	return nil
}

// renew returns a Secret as it should be and what is new in it. The error names
// the certificates that cannot be renewed; the others of the Secret are.
func (r *renewer) renew(s *corev1.Secret) (fresh *corev1.Secret, renewals []Renewal, good int, err error) {
	fresh = s.DeepCopy()
	var faults []error
	if !holdsCertificate(s) {
		return fresh, nil, 0, fmt.Errorf("the Secret %s/%s holds no certificate; run \"meridian init\" again, which issues what is missing", s.Namespace, s.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Data)) {
		if !certificateKey(key) {
			continue
		}
		base := strings.TrimSuffix(key, certificateSuffix)
		old := trust.PEM{Certificate: s.Data[key], Key: s.Data[base+keySuffix], Bundle: s.Data[trust.BundleFile]}
		why := r.due(old)
		if why == "" {
			good++
			continue
		}
		p, who, err := r.issue(s.Name, base, old)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s in Secret %s/%s: %w", key, s.Namespace, s.Name, err))
			continue
		}
		c, err := leaf(p.Certificate)
		if err != nil {
			faults = append(faults, fmt.Errorf("reading what was issued for %s: %w", who, err))
			continue
		}
		fresh.Data[key], fresh.Data[base+keySuffix] = p.Certificate, p.Key
		renewals = append(renewals, Renewal{Secret: s.Name, Key: key, Identity: who, Until: c.NotAfter, Why: why})
	}
	if !bytes.Equal(s.Data[trust.BundleFile], r.bundle) {
		fresh.Data[trust.BundleFile] = r.bundle
		if len(renewals) == 0 {
			renewals = append(renewals, Renewal{Secret: s.Name, Key: trust.BundleFile, Why: "did not name the authorities that are trusted now, and does"})
		}
	}
	return fresh, renewals, good, errors.Join(faults...)
}

// The ends of a Secret's keys, after what certificate and key have in common.
const (
	certificateSuffix = ".crt"
	keySuffix         = ".key"
)

func certificateKey(key string) bool {
	return strings.HasSuffix(key, certificateSuffix) && key != trust.BundleFile
}

func holdsCertificate(s *corev1.Secret) bool {
	for key := range s.Data {
		if certificateKey(key) {
			return true
		}
	}
	return false
}

// due says why a certificate is to be issued anew; empty: it is not.
func (r *renewer) due(old trust.PEM) string {
	switch c, err := leaf(old.Certificate); {
	case err != nil:
		return "cannot be read"
	case r.now.After(c.NotAfter):
		return "had expired"
	case wantsRenewal(old.Certificate, r.now):
		return "had less than a third of its life left"
	}
	own := old
	own.Bundle = r.authority.Bundle()
	if _, err := trust.ParsePapers(own, r.now); err != nil {
		return "was not issued by the authority in force, or not for its key"
	}
	if !bytes.Equal(old.Bundle, r.bundle) && !bytes.Contains(old.Bundle, bytes.TrimSpace(r.authority.Bundle())) {
		return "stood beside authorities without the one in force"
	}
	return ""
}

// issue makes a certificate for whom the old one is of. base is its key without
// ".crt".
func (r *renewer) issue(secret, base string, old trust.PEM) (trust.PEM, trust.Identity, error) {
	c, err := leaf(old.Certificate)
	if err != nil {
		return trust.PEM{}, trust.Identity{}, fmt.Errorf("it cannot be read, so nobody knows whose it is; run \"meridian init\" again, which makes it anew: %w", err)
	}
	who, err := trust.IdentityOf(c)
	switch {
	case err != nil:
		return trust.PEM{}, who, fmt.Errorf("%w; run \"meridian init\" again, which makes it anew", err)
	case who.Role != roles()[secret] || who.Domain != r.authority.Domain() || secret == SecretControl && !strings.HasSuffix(who.Name, "."+base):
		return trust.PEM{}, who, fmt.Errorf("it is of %s, who has no place in that Secret; run \"meridian init\" again, which makes it anew", who)
	}
	p, err := r.authority.Issue(trust.Request{Identity: who, Lifetime: c.NotAfter.Sub(c.NotBefore) - trust.Skew, Now: r.now})
	if err != nil {
		return trust.PEM{}, who, fmt.Errorf("issuing a certificate for %s: %w", who, err)
	}
	p.Bundle = r.bundle
	if _, err := trust.ParsePapers(p, r.now); err != nil {
		return trust.PEM{}, who, fmt.Errorf("what was issued for %s is not in order: %w", who, err)
	}
	return p, who, nil
}
