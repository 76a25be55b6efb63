// Package kem has the types of keys that caddytls names.
package kem

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding"
	"fmt"
)

// PublicKey is one that can be written.
type PublicKey interface{ encoding.BinaryMarshaler }

// PrivateKey is one that can be written.
type PrivateKey interface{ encoding.BinaryMarshaler }

// Scheme makes and reads keys on a curve.
type Scheme struct{ Curve ecdh.Curve }

type key []byte

func (k key) MarshalBinary() ([]byte, error) { return k, nil }

// GenerateKeyPair returns a new pair.
func (s Scheme) GenerateKeyPair() (PublicKey, PrivateKey, error) {
	private, err := s.Curve.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generating a key: %w", err)
	}
	return key(private.PublicKey().Bytes()), key(private.Bytes()), nil
}

// UnmarshalBinaryPublicKey reads what MarshalBinary of a public key wrote.
func (s Scheme) UnmarshalBinaryPublicKey(b []byte) (PublicKey, error) {
	public, err := s.Curve.NewPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	return key(public.Bytes()), nil
}
