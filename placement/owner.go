package placement

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Manager is the field manager under which Meridian applies what it places.
const Manager = "meridian"

// What Meridian writes on objects that it places. The label finds them; the
// annotations say whose they are. They are apart from app.kubernetes.io/managed-by,
// which belongs to the author.
const (
	ownPrefix = "meridian.dev/"
	// LabelPlaced is "true" on every object that was placed.
	LabelPlaced = ownPrefix + "placed"
	// AnnotationPlacedBy holds the UID of the host cluster's object that asked for it.
	// No two are equal in the world, so two installations that place into one cluster see
	// what is the other's and do not fight over it.
	AnnotationPlacedBy = ownPrefix + "placed-by"
	// AnnotationPlacedFrom names that object, for people.
	AnnotationPlacedFrom = ownPrefix + "placed-from"
	// AnnotationNeededBy names all host objects that an object is there for, by UID,
	// "a,b", sorted. Without it there is one: the one that placed it.
	AnnotationNeededBy = ownPrefix + "needed-by"
	// AnnotationApplied is the digest of what was applied, so that a restart finds out by
	// looking whether anything is to be written.
	AnnotationApplied = ownPrefix + "applied"
	// Finalizer keeps a FederatedObject until its clusters have let go of what they have
	// for it. It is there before anything is written to them.
	Finalizer = ownPrefix + "placement"
)

// MaxNeeding bounds how many host objects are named on one object.
const MaxNeeding = 200

// Owner is the host cluster's object for whose sake an object is in a member.
type Owner struct {
	UID                   types.UID
	Kind, Namespace, Name string
}

func (o Owner) from() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// OwnerOf says by whom an object in a member was placed, as a UID and in words; false
// when it was not placed. Somebody who removed the label or the annotation has taken
// the object out of Meridian's hands.
func OwnerOf(live *unstructured.Unstructured) (uid types.UID, from string, placed bool) {
	uid = types.UID(textAt(live.Object, "metadata", "annotations", AnnotationPlacedBy))
	from = textAt(live.Object, "metadata", "annotations", AnnotationPlacedFrom)
	return uid, from, uid != "" && textAt(live.Object, "metadata", "labels", LabelPlaced) == "true"
}

// NeededBy are the host objects that a placed object is there for, by UID; none: it was
// not placed.
func NeededBy(live *unstructured.Unstructured) []types.UID {
	uid, _, placed := OwnerOf(live)
	if !placed {
		return nil
	}
	text := textAt(live.Object, "metadata", "annotations", AnnotationNeededBy)
	if text == "" || len(text) >= 64*MaxNeeding {
		return []types.UID{uid}
	}
	var list []types.UID
	for uid := range strings.SplitSeq(text, ",") {
		list = append(list, types.UID(uid))
	}
	return list
}

// mark writes the owner on an object that is nobody else's; false when its labels
// or annotations are no maps.
func (o Owner) mark(object map[string]any) bool {
	return put(object, "true", "metadata", "labels", LabelPlaced) &&
		put(object, string(o.UID), "metadata", "annotations", AnnotationPlacedBy) &&
		put(object, o.from(), "metadata", "annotations", AnnotationPlacedFrom)
}
