package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// identity is where this process stands; an empty field is not known.
type identity struct {
	Host    string `json:"host"`
	Pod     string `json:"pod"`
	Zone    string `json:"zone"`
	Region  string `json:"region"`
	Cluster string `json:"cluster"`
}

// report is the whole answer.
type report struct {
	identity
	Method     string            `json:"method"`
	Path       string            `json:"path"`
	Protocol   string            `json:"protocol"`
	Requested  string            `json:"requestHost"` // the Host or :authority that the client asked for
	RemoteAddr string            `json:"remoteAddr"`  // of the last hop
	Headers    map[string]string `json:"headers"`     // the telling ones only
}

// answer says where this is. While failing it says so too, with the status it
// was told to fail with.
func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	m, _ := s.current()
	if m.Delay > 0 {
		wait := time.NewTimer(m.Delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
	}
	status := http.StatusOK
	if m.Failing {
		status = m.Status
	}
	rep := report{
		identity: s.cfg.Identity,
		Method:   r.Method, Path: r.URL.Path, Protocol: r.Proto,
		Requested: r.Host, RemoteAddr: r.RemoteAddr,
		Headers: telling(r.Header),
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	if wantsJSON(r) {
		writeJSON(w, status, rep)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(rep.text())) // the client may have gone
}

// text is the report for people: one "name: value" a line, unknown ones left out.
func (r report) text() string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name+":", printable(value))
		}
	}
	line("region", r.Region)
	line("zone", r.Zone)
	line("cluster", r.Cluster)
	line("pod", r.Pod)
	line("host", r.Host)
	line("request", r.Method+" "+r.Path+" "+r.Protocol)
	line("for", r.Requested)
	line("from", r.RemoteAddr)
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		line(name, r.Headers[name])
	}
	return b.String()
}

// printable keeps a value on its line and a terminal safe from it.
func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// tellingHeaders are those that say how a request got here.
var tellingHeaders = []string{
	"Accept-Language", "Forwarded", "Traceparent", "User-Agent", "Via",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id",
}

const maxHeaderValue = 1024 // bytes shown of one header

// telling picks the headers to show. Credentials and cookies are none of them.
func telling(h http.Header) map[string]string {
	shown := map[string]string{}
	for name, values := range h {
		if !slices.Contains(tellingHeaders, name) && !strings.HasPrefix(name, "X-Envoy-") && !strings.HasPrefix(name, "X-Meridian-") {
			continue
		}
		v := strings.Join(values, ", ")
		if len(v) > maxHeaderValue {
			v = v[:maxHeaderValue] + "…"
		}
		shown[name] = v
	}
	return shown
}

// wantsJSON reports whether the client asked for JSON: ?format= decides, else
// the first of the Accept header's types that we can write.
func wantsJSON(r *http.Request) bool {
	switch r.URL.Query().Get("format") {
	case "json":
		return true
	case "text":
		return false
	}
	for _, accepted := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accepted, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil || params["q"] == "0" {
				continue
			}
			switch kind {
			case "application/json":
				return true
			case "text/plain", "text/*", "*/*":
				return false
			}
		}
	}
	return false
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may have gone
}
