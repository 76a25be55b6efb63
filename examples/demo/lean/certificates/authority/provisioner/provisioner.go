// Package provisioner has what caddytls names when it asks for a certificate.
package provisioner

import "crypto/x509"

// SignOptions are smallstep's rules for a certificate. Caddy leaves them empty: what it wants is in a CertificateModifier.
type SignOptions struct{}

// SignOption is a CertificateModifier; an authority refuses any other.
type SignOption any

// CertificateModifier changes a certificate before it is signed.
type CertificateModifier interface {
	Modify(cert *x509.Certificate, opts SignOptions) error
}
