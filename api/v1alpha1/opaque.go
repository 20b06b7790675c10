package v1alpha1

import (
	"bytes"
	"slices"
)

// Opaque is a JSON value of any form, kept as it is. null is a value; nothing at
// all is the zero Opaque.
//
// +kubebuilder:validation:XPreserveUnknownFields
type Opaque struct {
	Raw []byte `json:"-"`
}

// IsZero reports whether nothing at all was said.
func (o Opaque) IsZero() bool { return len(o.Raw) == 0 }

// MarshalJSON writes the value.
func (o Opaque) MarshalJSON() ([]byte, error) { return raw(o.Raw), nil }

// UnmarshalJSON keeps the value.
func (o *Opaque) UnmarshalJSON(data []byte) error {
	o.Raw = slices.Clone(bytes.TrimSpace(data))
	return nil
}

func raw(b []byte) []byte {
	if len(b) == 0 {
		return []byte("null")
	}
	return b
}
