package install

import (
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// The names of what a member holds for its host.
const (
	memberAccount = "meridian"        // ServiceAccount, whose token the host bears
	memberRole    = "meridian:member" // what it may read in the whole cluster
	tokenRole     = "meridian:token"  // it may renew its own token
	daemonAccount = "meridiand"       // the daemons' own ServiceAccount, in the host
)

// memberRules are all that a host needs of a member: to see which services run
// where. Nothing in a member can be changed with it, and no Secret read.
func memberRules() []rbacv1.PolicyRule {
	see := []string{"get", "list", "watch"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces", "nodes", "services"}, Verbs: see},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: see},
		{APIGroups: []string{"multicluster.x-k8s.io"}, Resources: []string{"serviceexports", "serviceimports"}, Verbs: see},
	}
}

// memberObjects are what a member holds: an account for its host.
func memberObjects(namespace string) []*unstructured.Unstructured {
	labels := map[string]string{labelPartOf: manager, labelManagedBy: manager}
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Name: memberAccount, Namespace: namespace}}
	rbac := rbacv1.SchemeGroupVersion
	refuse := false
	objects := []*unstructured.Unstructured{
		object(corev1.SchemeGroupVersion.WithKind("ServiceAccount"), &corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{Name: memberAccount, Namespace: namespace, Labels: labels}, AutomountServiceAccountToken: &refuse,
		}),
		object(rbac.WithKind("ClusterRole"), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: memberRole, Labels: labels}, Rules: memberRules()}),
		object(rbac.WithKind("ClusterRoleBinding"), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: memberRole, Labels: labels}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbac.Group, Kind: "ClusterRole", Name: memberRole},
		}),
		object(rbac.WithKind("Role"), &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Name: tokenRole, Namespace: namespace, Labels: labels},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{memberAccount}, Verbs: []string{"create"}}},
		}),
		object(rbac.WithKind("RoleBinding"), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: tokenRole, Namespace: namespace, Labels: labels}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbac.Group, Kind: "Role", Name: tokenRole},
		}),
	}
	sortObjects(objects)
	return objects
}

// memberNamespace is made where there is none, and goes when the member leaves.
func memberNamespace(namespace string) *unstructured.Unstructured {
	return object(corev1.SchemeGroupVersion.WithKind("Namespace"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace,
		Labels: map[string]string{
			labelPartOf: manager, labelManagedBy: manager, labelJoined: "true",
			"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/audit": "restricted", "pod-security.kubernetes.io/warn": "restricted",
		},
	}})
}

// secretName is the Secret with a member's credentials.
func secretName(member string) string { return "member-" + member }

// credentials is the Secret by which the host reaches a member. uid is that of the
// cluster, server the address that was given for it; empty: nothing says one.
func credentials(namespace, member, uid, server string, kubeconfig []byte) *unstructured.Unstructured {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secretName(member), Namespace: namespace, Labels: map[string]string{
			labelPartOf: manager, labelManagedBy: manager, labelMember: member,
		}},
		Type: corev1.SecretTypeOpaque, Data: map[string][]byte{kubeconfigKey: kubeconfig},
	}
	for key, value := range map[string]string{annotationUID: uid, annotationServer: server} {
		if value != "" {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, key, value)
		}
	}
	return object(corev1.SchemeGroupVersion.WithKind("Secret"), s)
}

// opened lets the daemons read and renew the credentials of one member, and no
// other Secret beside them: the authority lies there too.
func opened(namespace, member string) []*unstructured.Unstructured {
	name := "meridian:member-" + member
	labels := map[string]string{labelPartOf: manager, labelManagedBy: manager, labelMember: member}
	rbac := rbacv1.SchemeGroupVersion
	return []*unstructured.Unstructured{
		object(rbac.WithKind("Role"), &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{secretName(member)}, Verbs: []string{"get", "list", "watch", "update"}}},
		}),
		object(rbac.WithKind("RoleBinding"), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: daemonAccount, Namespace: namespace}},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbac.Group, Kind: "Role", Name: name},
		}),
	}
}

// Membership is what the host is to know of a member.
type Membership struct {
	Name      string
	Region    fleet.Region
	Zone      string // empty: its nodes stand in several
	Place     fleet.Place
	Network   string             // empty: its own
	Gateways  []v1alpha1.Gateway // none: it cannot be entered from outside its network
	Endpoints []netip.Prefix     // that its endpoints lie in; none: anywhere
}

// cluster is a member's Cluster object.
func (m Membership) cluster() *v1alpha1.Cluster {
	degrees := func(f float64) v1alpha1.Decimal { return v1alpha1.Decimal(strconv.FormatFloat(f, 'f', -1, 64)) }
	c := &v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Name: m.Name, Labels: map[string]string{labelPartOf: manager, labelManagedBy: manager}},
		Spec: v1alpha1.ClusterSpec{
			Region: string(m.Region), Zone: m.Zone, Place: v1alpha1.Place{Lat: degrees(m.Place.Lat), Lon: degrees(m.Place.Lon)},
			Network: m.Network, Gateways: m.Gateways,
			CredentialsRef: &v1alpha1.SecretRef{Name: secretName(m.Name)},
		},
	}
	for _, p := range m.Endpoints {
		c.Spec.EndpointNetworks = append(c.Spec.EndpointNetworks, v1alpha1.Prefix(p.String()))
	}
	return c
}

// object is the same untyped.
func (m Membership) object() *unstructured.Unstructured {
	return object(v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindCluster), m.cluster())
}
