package apply

import (
	"context"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// leaseName is the Lease of which one replica at a time is the holder; it alone
// writes. The others watch, so that they can go on at once.
const leaseName = v1alpha1.WorkloadsLease

// term is the time during which this replica writes.
type term struct {
	client kubernetes.Interface
	cfg    Config
	log    *slog.Logger

	mu  sync.Mutex
	ctx context.Context //nolint:containedctx // of the term; every write ends with it
}

func newTerm(client kubernetes.Interface, cfg Config, log *slog.Logger) *term {
	return &term{client: client, cfg: cfg, log: log}
}

// writing is the context of the term; nil while another replica writes.
func (t *term) writing() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil || t.ctx.Err() != nil {
		return nil
	}
	return t.ctx
}

// run stands for election until ctx ends. Changed hears when a term begins or ends.
func (t *term) run(ctx context.Context, changed func()) error {
	quiet := klog.NewContext(ctx, logr.Discard())
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: t.cfg.Namespace, Name: leaseName}, Client: t.client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: t.cfg.Instance},
	}
	for ctx.Err() == nil {
		e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: t.cfg.Pace.Lease, RenewDeadline: t.cfg.Pace.Lease * 2 / 3, RetryPeriod: t.cfg.Pace.Lease * 2 / 15,
			ReleaseOnCancel: true, Name: leaseName,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					t.mu.Lock()
					t.ctx = ctx
					t.mu.Unlock()
					t.log.Info("this replica writes workloads")
					changed()
				},
				OnStoppedLeading: changed,
			},
		})
		if err != nil {
			return err
		}
		e.Run(quiet)
	}
	return nil
}
