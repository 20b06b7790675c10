package trust

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// renewing runs Files over a directory that begins with p.
func renewing(t *testing.T, p PEM, change func(*FilesConfig)) (*Files, string, *prometheus.Registry) {
	t.Helper()
	dir := t.TempDir()
	if err := WritePEM(dir, p); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	c := FilesConfig{Dir: dir, Log: slog.New(slog.DiscardHandler), Registerer: reg}
	if change != nil {
		change(&c)
	}
	f, err := NewFiles(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, dir, reg
}

// eventually asks until the files have been looked at.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func inForce(t *testing.T, f *Files, p PEM) {
	t.Helper()
	eventually(t, func() error {
		if f.Current().sum != p.sum() || f.Fault() != nil {
			return fmt.Errorf("the new papers are not in force: %w", f.Fault())
		}
		return nil
	})
}

func TestRenewal(t *testing.T) {
	a := newAuthority(t, "mesh.example")
	first := issue(t, a, anEnvoy, time.Hour)
	f, dir, reg := renewing(t, first, func(c *FilesConfig) { c.Quiet, c.Recheck = 10*time.Millisecond, time.Hour })

	second := issue(t, a, anEnvoy, 2*time.Hour)
	if err := WritePEM(dir, second); err != nil { // the link swap of a Secret's mount
		t.Fatal(err)
	}
	inForce(t, f, second)

	// Half of a renewal, by hand: nothing changes until the other half is there.
	third := issue(t, a, anEnvoy, 3*time.Hour)
	put := func(name string, b []byte) {
		t.Helper()
		beside := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(beside, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(beside, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, dataLink)); err != nil {
		t.Fatal(err)
	}
	put(BundleFile, third.Bundle)
	put(KeyFile, second.Key)
	put(CertificateFile, third.Certificate)
	eventually(t, func() error {
		if err := f.Fault(); err == nil || !strings.Contains(err.Error(), "do not belong together") {
			return fmt.Errorf("no fault: %w", err)
		}
		return nil
	})
	if f.Current().sum != second.sum() {
		t.Error("half a renewal was taken")
	}
	if got := gauge(t, reg, "meridian_trust_faulty"); got != 1 {
		t.Errorf("faulty: %v", got)
	}
	put(KeyFile, third.Key)
	inForce(t, f, third)
	if got := gauge(t, reg, "meridian_trust_faulty"); got != 0 {
		t.Errorf("faulty: %v", got)
	}
	if got := gauge(t, reg, "meridian_trust_expiry_timestamp_seconds"); got != float64(papersOf(t, third).NotAfter().Unix()) {
		t.Errorf("expiry: %v", got)
	}
	if got := testutil.ToFloat64(f.metrics.taken); got != 2 {
		t.Errorf("%v renewals", got)
	}

	// Somebody else's papers are not ours, however good.
	other := anEnvoy
	other.Name = "gateway-1"
	if err := WritePEM(dir, issue(t, a, other, time.Hour)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := f.Fault(); err == nil || !strings.Contains(err.Error(), "restart it if that is meant") {
			return fmt.Errorf("no fault: %w", err)
		}
		return nil
	})
	if f.Identity() != anEnvoy {
		t.Errorf("it became %v", f.Identity())
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.GetName() == name {
			return m.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// Without any event the next look finds what is new, and that nothing came.
func TestLooksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, "mesh.example")
		dir := t.TempDir()
		if err := WritePEM(dir, issue(t, a, anEnvoy, time.Hour)); err != nil {
			t.Fatal(err)
		}
		f, err := NewFiles(FilesConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f.look()
		if f.Fault() != nil {
			t.Error(f.Fault())
		}
		time.Sleep(time.Hour + time.Second)
		f.look()
		if err := f.Fault(); err == nil || !strings.Contains(err.Error(), "was not renewed") {
			t.Errorf("expired: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		f.look()
		if err := f.Fault(); err == nil || !strings.Contains(err.Error(), "what was read before expired") || f.Current() == nil {
			t.Errorf("gone: %v", err)
		}
		late := issue(t, a, anEnvoy, time.Hour)
		if err := WritePEM(dir, late); err != nil {
			t.Fatal(err)
		}
		f.look()
		if f.Fault() != nil || f.Current().sum != late.sum() {
			t.Errorf("renewed: %v", f.Fault())
		}
	})
}

func TestNothingToBeginWith(t *testing.T) {
	if _, err := NewFiles(FilesConfig{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "tls.crt, tls.key and ca.crt") {
		t.Errorf("%v", err)
	}
}
