package authority_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/provisioner"
)

type lifetime time.Duration

func (l lifetime) Modify(cert *x509.Certificate, _ provisioner.SignOptions) error {
	cert.NotBefore = time.Now()
	cert.NotAfter = cert.NotBefore.Add(time.Duration(l))
	return nil
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRoot(t *testing.T) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func newRequest(t *testing.T) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"localhost"}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestSignedCertificateIsTrustedThroughItsRoot(t *testing.T) {
	root, key := newRoot(t)
	auth, err := authority.NewEmbedded(authority.WithX509Signer(root, key))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := auth.SignWithContext(context.Background(), newRequest(t), provisioner.SignOptions{}, lifetime(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost"}); err != nil {
		t.Error(err)
	}
	if long := chain[0].NotAfter.Sub(chain[0].NotBefore); long != time.Minute {
		t.Errorf("lifetime: %v", long)
	}
}

func TestRefusals(t *testing.T) {
	root, key := newRoot(t)
	auth, err := authority.NewEmbedded(authority.WithX509Signer(root, key))
	if err != nil {
		t.Fatal(err)
	}
	forged := newRequest(t)
	forged.Signature[len(forged.Signature)-1] ^= 1
	if _, err := auth.SignWithContext(context.Background(), forged, provisioner.SignOptions{}); err == nil {
		t.Error("a request that its key has not signed was signed")
	}
	if _, err := auth.SignWithContext(context.Background(), newRequest(t), provisioner.SignOptions{}, "a rule"); err == nil {
		t.Error("a rule that is not known was passed over")
	}
	if _, err := authority.NewEmbedded(authority.WithDatabase(nil)); err == nil {
		t.Error("a database was taken")
	}
	unset, err := authority.NewEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unset.SignWithContext(context.Background(), newRequest(t), provisioner.SignOptions{}); err == nil {
		t.Error("signed without a signer")
	}
}
