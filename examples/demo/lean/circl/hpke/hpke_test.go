package hpke_test

import (
	"bytes"
	"crypto/ecdh"
	"testing"

	"github.com/cloudflare/circl/hpke"
)

func TestKeysAreX25519(t *testing.T) {
	scheme := hpke.KEM_X25519_HKDF_SHA256.Scheme()
	public, private, err := scheme.GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	written, _ := public.MarshalBinary()
	secret, _ := private.MarshalBinary()
	key, err := ecdh.X25519().NewPrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key.PublicKey().Bytes(), written) {
		t.Error("the keys are no pair")
	}
	read, err := scheme.UnmarshalBinaryPublicKey(written)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := read.MarshalBinary(); !bytes.Equal(again, written) {
		t.Errorf("written again it is %x, want %x", again, written)
	}
	if _, err := scheme.UnmarshalBinaryPublicKey(written[1:]); err == nil {
		t.Error("a short key was taken")
	}
}
