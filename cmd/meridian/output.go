package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// format is how an answer is printed.
type format string

// The formats; the zero value is the table.
const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

// String implements pflag.Value.
func (f *format) String() string {
	if *f == "" {
		return string(formatTable)
	}
	return string(*f)
}

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatTable, formatJSON, formatYAML:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("write table, json or yaml")
}

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// print writes a message as JSON or YAML, or lets table write it.
func (f *format) print(w io.Writer, m proto.Message, table func(t *sheet)) error {
	if *f == "" || *f == formatTable {
		t := &sheet{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
		table(t)
		return t.w.Flush()
	}
	b, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	var plain bytes.Buffer // protojson varies its spaces from build to build; people compare outputs
	if err := json.Indent(&plain, b, "", "  "); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	b = plain.Bytes()
	if *f == formatYAML {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		_, err = w.Write(b)
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// sheet writes aligned columns.
type sheet struct{ w *tabwriter.Writer }

func (t *sheet) row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = oneLine(fmt.Sprint(c))
		if text[i] == "" {
			text[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(text, "\t"), "\t"))
}

// oneLine keeps what a stranger wrote from steering a terminal or a table.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// line writes free text between tables.
func (t *sheet) line(format string, args ...any) {
	_ = t.w.Flush()
	fmt.Fprintf(t.w, format+"\n", args...)
	_ = t.w.Flush()
}
