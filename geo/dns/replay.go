package dns

import "net/netip"

// Respond answers one packet as if it had come over UDP; nil when it is not to be
// answered. Replays and tests ask without a socket.
func (s *Server) Respond(packet []byte, from netip.Addr) []byte {
	return s.handle(packet, from, overUDP)
}
