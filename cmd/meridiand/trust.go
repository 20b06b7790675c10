package main

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// papers are who this daemon is, as far as others can be made to believe it. The
// zero value is nobody, who speaks plaintext.
type papers struct {
	files   *trust.Files
	refused *prometheus.CounterVec // handshakes, by server
}

// introduce reads the daemon's identity and follows its renewals.
func (d *daemon) introduce() error {
	if d.config.identity == "" {
		d.log.Warn("there is no --identity, so xDS, peers and admin API speak plaintext and believe whatever a caller says; keep their ports on networks you trust")
		return nil
	}
	files, err := trust.NewFiles(trust.FilesConfig{Dir: d.config.identity, Log: d.log, Registerer: d.registry})
	if err != nil {
		return fmt.Errorf("--identity: %w", err)
	}
	switch who := files.Identity(); {
	case who.Role != trust.Control:
		return fmt.Errorf("--identity %s is of %s; a meridiand needs the role %s", d.config.identity, who, trust.Control)
	case who.Name != d.instance:
		return fmt.Errorf("--identity %s is of %s, and --instance is %q; make them the same", d.config.identity, who, d.instance)
	case who.Region != fleet.Region(d.region):
		return fmt.Errorf("--identity %s is of %s, and --region is %q; make them the same", d.config.identity, who, d.region)
	}
	d.papers = papers{files: files, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meridian_trust_handshakes_refused_total", Help: "Connections that ended before anybody was identified, by who was called: xds, peer or admin."}, []string{"server"})}
	if err := d.registry.Register(d.papers.refused); err != nil {
		return fmt.Errorf("registering the metrics of the identity: %w", err)
	}
	d.tasks = append(d.tasks, files.Run)
	return nil
}

// domain is the trust domain; empty with plaintext.
func (p papers) domain() string {
	if p.files == nil {
		return ""
	}
	return p.files.Identity().Domain
}

// server makes the credentials of one of our servers; nil with plaintext. Who may
// do what there is the server's own decision, so that a caller is told in words.
func (p papers) server(name string, tokens bool) credentials.TransportCredentials {
	if p.files == nil {
		return nil
	}
	config := trust.ServerTLS(p.files, nil)
	if tokens {
		config = trust.ServerTLSForTokens(p.files, nil)
	}
	refused := p.refused.WithLabelValues(name)
	return trust.Credentials(config, func(error) { refused.Inc() })
}

// client makes the credentials for calling other daemons; nil with plaintext.
func (p papers) client() credentials.TransportCredentials {
	if p.files == nil {
		return nil
	}
	return trust.Credentials(trust.ClientTLS(p.files, trust.Only(trust.Control)), nil)
}
