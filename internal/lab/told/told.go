// Package told has what stories want to be told of a workload: conditions and rows of its status.
package told

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// Condition pleases when a condition is so, and its reason and message say this.
func Condition(kind string, status metav1.ConditionStatus, says string) func(v1alpha1.WorkloadStatus) error {
	return func(s v1alpha1.WorkloadStatus) error {
		for _, c := range s.Conditions {
			if c.Type == kind && c.Status == status && strings.Contains(c.Reason+": "+c.Message, says) {
				return nil
			}
		}
		return fmt.Errorf("no condition %s=%s with %q", kind, status, says)
	}
}

// Row pleases when a cluster has this state, and its reason and message say this.
func Row(cluster string, state v1alpha1.WorkloadState, says string) func(v1alpha1.WorkloadStatus) error {
	return func(s v1alpha1.WorkloadStatus) error {
		for _, c := range s.Clusters {
			if c.Cluster == cluster && c.State == state && strings.Contains(c.Reason+": "+c.Message, says) {
				return nil
			}
		}
		return fmt.Errorf("no cluster %s that is %s with %q", cluster, state, says)
	}
}
