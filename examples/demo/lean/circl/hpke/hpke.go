// Package hpke has what caddytls uses for encrypted ClientHellos: RFC 9180's numbers, and keys on X25519. It stands in for Cloudflare's
// library of cryptography, a download of 49 MB, most of it test vectors.
package hpke

import (
	"crypto/ecdh"

	"github.com/cloudflare/circl/kem"
)

// KEM is the number of a key encapsulation mechanism.
type KEM uint16

// KEM_X25519_HKDF_SHA256 is the only one here, and the only one that Go's TLS takes.
const KEM_X25519_HKDF_SHA256 KEM = 0x20

// IsValid tells whether it is known here.
func (k KEM) IsValid() bool { return k == KEM_X25519_HKDF_SHA256 }

// Scheme returns how its keys are made and read.
func (KEM) Scheme() kem.Scheme { return kem.Scheme{Curve: ecdh.X25519()} }

// KDF is the number of a key derivation function.
type KDF uint16

// KDF_HKDF_SHA256 is the first of RFC 9180's three.
const KDF_HKDF_SHA256 KDF = 1

// IsValid tells whether it is one of RFC 9180's.
func (k KDF) IsValid() bool { return k >= 1 && k <= 3 }

// AEAD is the number of a cipher.
type AEAD uint16

// RFC 9180's.
const (
	AEAD_AES128GCM        AEAD = 1
	AEAD_AES256GCM        AEAD = 2
	AEAD_ChaCha20Poly1305 AEAD = 3
)

// IsValid tells whether it is one of RFC 9180's.
func (a AEAD) IsValid() bool { return a >= AEAD_AES128GCM && a <= AEAD_ChaCha20Poly1305 }
