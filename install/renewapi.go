package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/meridian-lb/meridian/trust"
)

// renewAPI does for the certificates of a dedicated API, if there is one, what renewAll
// does for identities. Its authority lasts longer than they do and stays.
func renewAPI(ctx context.Context, reach *Reach, namespace string, now time.Time, write func(*corev1.Secret, []Renewal) error) (done Renewed, err error) {
	found, err := reach.existing(ctx, namespace, apiSecretNames()...)
	switch {
	case apierrors.IsForbidden(err):
		return done, nil // the chart lets nobody look for what it does not make
	case err != nil:
		return done, err
	case found[SecretAPI] == nil || !made(found[SecretAPI]):
		return done, nil
	}
	ids := &identities{namespace: namespace, now: now, found: found}
	fresh, err := ids.apiSecrets()
	if err != nil {
		return done, err
	}
	var faults []error
	for _, o := range fresh {
		old := found[o.GetName()]
		if o.GetName() == SecretAPIAuthority || old == nil || !made(old) {
			continue
		}
		raw, err := o.MarshalJSON()
		s := &corev1.Secret{}
		if err == nil {
			err = json.Unmarshal(raw, s)
		}
		if err != nil {
			return done, err
		}
		if bytes.Equal(s.Data[trust.CertificateFile], old.Data[trust.CertificateFile]) && bytes.Equal(s.Data[trust.BundleFile], old.Data[trust.BundleFile]) {
			done.Good++
			continue
		}
		r, err := apiRenewal(old, s, now)
		if err != nil {
			return done, err
		}
		s.ResourceVersion, s.UID = old.ResourceVersion, old.UID
		if err := write(s, []Renewal{r}); err != nil {
			faults = append(faults, err)
			continue
		}
		done.Renewals = append(done.Renewals, r)
	}
	return done, errors.Join(faults...)
}

// apiRenewal says what is new in a Secret of a dedicated API, and why.
func apiRenewal(old, s *corev1.Secret, now time.Time) (Renewal, error) {
	c, err := leaf(s.Data[trust.CertificateFile])
	if err != nil {
		return Renewal{}, fmt.Errorf("reading what was issued for Secret %s: %w", s.Name, err)
	}
	r := Renewal{Secret: s.Name, Key: trust.CertificateFile, Name: c.Subject.CommonName, Until: c.NotAfter}
	switch before, err := leaf(old.Data[trust.CertificateFile]); {
	case err != nil:
		r.Why = "could not be read"
	case now.After(before.NotAfter):
		r.Why = "had expired"
	case wantsRenewal(old.Data[trust.CertificateFile], now):
		r.Why = "had less than a third of its life left"
	default:
		r.Why = "was not issued by the authority of the dedicated API, or not for its key"
	}
	return r, nil
}
