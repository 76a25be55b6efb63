// Package authority signs certificates for "tls internal", as far as Caddy asks it to: for the names of a request, with the
// certificate and key that Caddy has made. It stands in for smallstep's authority, which also brings cloud identities, hardware keys,
// three databases and gRPC.
package authority

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/db"
)

// AuthConfig has no field: Caddy passes none on for "tls internal".
type AuthConfig struct{}

// Config wraps AuthConfig, as smallstep's does.
type Config struct{ AuthorityConfig *AuthConfig }

// Authority signs with what signer returns at that time: Caddy renews its intermediate certificate while it runs.
type Authority struct {
	signer func() ([]*x509.Certificate, crypto.Signer, error)
}

// Option sets up an Authority.
type Option func(*Authority) error

// NewEmbedded returns an authority that signs in this process.
func NewEmbedded(opts ...Option) (*Authority, error) {
	a := &Authority{signer: func() ([]*x509.Certificate, crypto.Signer, error) {
		return nil, nil, errors.New("finding the signer: none is set")
	}}
	for _, opt := range opts {
		if err := opt(a); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// WithX509Signer signs with one certificate and its key.
func WithX509Signer(cert *x509.Certificate, key crypto.Signer) Option {
	return WithX509SignerFunc(func() ([]*x509.Certificate, crypto.Signer, error) {
		return []*x509.Certificate{cert}, key, nil
	})
}

// WithX509SignerFunc signs with what the function returns: the signer's certificate, those above it without the root, and its key.
func WithX509SignerFunc(signer func() ([]*x509.Certificate, crypto.Signer, error)) Option {
	return func(a *Authority) error {
		a.signer = signer
		return nil
	}
}

// WithConfig changes nothing.
func WithConfig(*Config) Option { return func(*Authority) error { return nil } }

// WithX509RootCerts changes nothing: roots are for those who verify.
func WithX509RootCerts(...*x509.Certificate) Option { return func(*Authority) error { return nil } }

// WithDatabase refuses: nothing that is signed is kept here, so an acme_server must not believe so.
func WithDatabase(db.AuthDB) Option {
	return func(*Authority) error { return errors.New("keeping certificates: the demo has no database for them") }
}

// SignWithContext returns the certificate for a request, and after it the signer's.
func (a *Authority) SignWithContext(_ context.Context, csr *x509.CertificateRequest, opts provisioner.SignOptions, extra ...provisioner.SignOption) ([]*x509.Certificate, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking a certificate request: %w", err)
	}
	chain, key, err := a.signer()
	if err != nil {
		return nil, err
	}
	cert := &x509.Certificate{
		Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, URIs: csr.URIs, EmailAddresses: csr.EmailAddresses,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, option := range extra {
		modifier, ok := option.(provisioner.CertificateModifier)
		if !ok {
			return nil, fmt.Errorf("signing a certificate: a %T is no rule of this authority", option)
		}
		if err := modifier.Modify(cert, opts); err != nil {
			return nil, fmt.Errorf("preparing a certificate: %w", err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, chain[0], csr.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the signed certificate: %w", err)
	}
	return append([]*x509.Certificate{signed}, chain...), nil
}
