package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxKeys is how many keys of a set are used, and maxSameID how many of them can have
	// the same id and algorithm.
	maxKeys   = 100
	maxSameID = 4

	// The bits of an RSA key: RFC 7518, section 3.3, asks for the first. The second bounds
	// what a signature costs to verify.
	minRSABits = 2048
	maxRSABits = 16384
)

// errNoKeySet says that something is not a JWK Set.
var errNoKeySet = errors.New("it is not a JWK Set, an object with an array keys")

// keySet is the keys of an issuer that can verify tokens.
type keySet struct {
	byID   map[string][]verifyingKey
	size   int
	empty  bool // the array has no elements, not even keys that are skipped
	secret bool // a private or symmetric key is in it
}

// verifyingKey is a public key, and the one algorithm that it is for.
type verifyingKey struct {
	algorithm string
	public    crypto.PublicKey
}

// skippedKey is a key of a set that is not used.
type skippedKey struct{ id, reason string }

// parseKeySet reads a JWK Set (RFC 7517). A key that is not understood is skipped, as its
// section 5 says.
func parseKeySet(text []byte) (*keySet, []skippedKey, error) {
	values, err := keysOf(text)
	if err != nil {
		return nil, nil, err
	}
	set := &keySet{byID: map[string][]verifyingKey{}, empty: len(values) == 0}
	var skipped []skippedKey
	for _, value := range values {
		id, secret := aboutKey(value)
		set.secret = set.secret || secret
		key, err := parseKey(value)
		if err == nil {
			err = set.add(id, key)
		}
		if err != nil {
			skipped = append(skipped, skippedKey{fmt.Sprintf("%.64s", id), err.Error()})
		}
	}
	return set, skipped, nil
}

func (s *keySet) add(id string, key verifyingKey) error {
	same := 0
	for _, other := range s.byID[id] {
		if other.algorithm == key.algorithm {
			same++
		}
	}
	switch {
	case s.size == maxKeys:
		return fmt.Errorf("the set has %d keys before it", maxKeys)
	case same == maxSameID:
		return fmt.Errorf("%d keys before it have the same kid and algorithm", maxSameID)
	}
	s.byID[id] = append(s.byID[id], key)
	s.size++
	return nil
}

// The keys are read one by one: what is wrong within one concerns no other.
var lax = jsontext.AllowDuplicateNames(true)

// keysOf returns the elements of the array keys.
func keysOf(text []byte) (values []jsontext.Value, err error) {
	decoder := jsontext.NewDecoder(bytes.NewReader(text), lax, jsontext.AllowInvalidUTF8(true))
	found, names := false, map[string]bool{}
	if decoder.PeekKind() != '{' {
		return nil, errNoKeySet
	}
	_, err = decoder.ReadToken()
	for err == nil && decoder.PeekKind() == '"' {
		var token jsontext.Token
		if token, err = decoder.ReadToken(); err != nil {
			break
		}
		name := token.String()
		if names[name] {
			return nil, errors.New("a name is there twice")
		}
		names[name] = true
		if name != "keys" {
			err = decoder.SkipValue()
			continue
		}
		if found = decoder.PeekKind() == '['; !found {
			return nil, errNoKeySet
		}
		values, err = elements(decoder)
	}
	if err == nil {
		_, err = decoder.ReadToken() // the object's end
	}
	if err == nil {
		_, err = decoder.ReadToken()
	}
	switch {
	case err == nil:
		return nil, errors.New("text follows the JWK Set")
	case !errors.Is(err, io.EOF):
		return nil, withoutValues(err)
	case !found:
		return nil, errNoKeySet
	}
	return values, nil
}

func elements(decoder *jsontext.Decoder) (values []jsontext.Value, err error) {
	_, err = decoder.ReadToken()
	for err == nil && decoder.PeekKind() != ']' {
		var value jsontext.Value
		if value, err = decoder.ReadValue(); err == nil {
			values = append(values, value.Clone())
		}
	}
	if err == nil {
		_, err = decoder.ReadToken()
	}
	return values, err
}

// aboutKey is what can be said of any key: its id, for the log as it is written, and whether
// it holds a secret.
func aboutKey(value jsontext.Value) (id string, secret bool) {
	var members struct {
		ID        jsontext.Value `json:"kid"`
		Private   jsontext.Value `json:"d"`
		Symmetric jsontext.Value `json:"k"`
	}
	_ = jsonv2.Unmarshal(value, &members, lax, jsontext.AllowInvalidUTF8(true)) // parseKey says why not
	if jsonv2.Unmarshal(members.ID, &id) != nil {
		id = string(members.ID)
	}
	return id, members.Private != nil || members.Symmetric != nil
}

// jwk has the members of a key (RFC 7517, 7518 and 8037) that decide whether it is used, and
// how. Others are not looked at.
type jwk struct {
	ID           string   `json:"kid"`
	Type         string   `json:"kty"`
	Use          string   `json:"use"`
	Operations   []string `json:"key_ops"`
	Algorithm    string   `json:"alg"`
	Certificates []string `json:"x5c"`
	Curve        string   `json:"crv"`
	N            string   `json:"n"`
	E            string   `json:"e"`
	X            string   `json:"x"`
	Y            string   `json:"y"`
}

// parseKey reads the public half of a key, or says why it cannot verify tokens.
func parseKey(value jsontext.Value) (key verifyingKey, err error) {
	var k jwk
	if err := jsonv2.Unmarshal(value, &k); err != nil {
		return key, withoutValues(err)
	}
	switch {
	case k.ID == "":
		return key, errors.New("it has no kid")
	case k.Use != "" && k.Use != "sig":
		return key, errors.New("its use is not sig")
	case len(k.Operations) > 0 && !slices.Contains(k.Operations, "verify"):
		return key, errors.New("its key_ops have no verify")
	}
	switch k.Type {
	case "RSA":
		key.algorithm = jwt.SigningMethodRS256.Alg()
		key.public, err = k.rsa()
	case "EC":
		key.algorithm = jwt.SigningMethodES256.Alg()
		key.public, err = k.ec()
	case "OKP":
		key.algorithm = jwt.SigningMethodEdDSA.Alg()
		key.public, err = k.ed25519()
	default:
		err = fmt.Errorf("its kty is %.20q, and not RSA, EC or OKP", k.Type)
	}
	if err == nil && k.Algorithm != "" && k.Algorithm != key.algorithm {
		err = fmt.Errorf("its alg is %.20q, and not %s", k.Algorithm, key.algorithm)
	}
	if err == nil {
		err = k.checkCertificate(key.public)
	}
	return key, err
}

func (k *jwk) rsa() (*rsa.PublicKey, error) {
	n, err := decodeMember("n", k.N)
	if err != nil {
		return nil, err
	}
	e, err := decodeMember("e", k.E)
	if err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	switch bits := modulus.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return nil, fmt.Errorf("it has %d bits, and not %d to %d", bits, minRSABits, maxRSABits)
	case modulus.Bit(0) == 0:
		return nil, errors.New("its n is even")
	case exponent.BitLen() > 31 || exponent.Int64() < 3 || exponent.Bit(0) == 0:
		return nil, errors.New("its e is not an odd number from 3 to 2^31-1")
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

func (k *jwk) ec() (*ecdsa.PublicKey, error) {
	if k.Curve != "P-256" {
		return nil, fmt.Errorf("its crv is %.20q, and not P-256", k.Curve)
	}
	const size = 32
	point := make([]byte, 1+2*size)
	point[0] = 4 // both coordinates follow: SEC 1, section 2.3.3
	for i, member := range []struct{ name, text string }{{"x", k.X}, {"y", k.Y}} {
		coordinate, err := decodeMember(member.name, member.text)
		if err != nil {
			return nil, err
		}
		if coordinate = bytes.TrimLeft(coordinate, "\x00"); len(coordinate) > size {
			return nil, fmt.Errorf("its %s has more than %d bytes", member.name, size)
		}
		copy(point[1+(i+1)*size-len(coordinate):], coordinate)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, errors.New("its point is not on the curve")
	}
	return key, nil
}

func (k *jwk) ed25519() (ed25519.PublicKey, error) {
	if k.Curve != "Ed25519" {
		return nil, fmt.Errorf("its crv is %.20q, and not Ed25519", k.Curve)
	}
	x, err := decodeMember("x", k.X)
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("its x has %d bytes, and not %d", len(x), ed25519.PublicKeySize)
	}
	y := bytes.Clone(x)
	y[len(y)-1] &= 0x7f // without the sign of the other coordinate
	if slices.Contains(smallOrder, hex.EncodeToString(y)) {
		return nil, errors.New("its point has a small order")
	}
	return x, nil
}

// smallOrder are the points of Ed25519 with which everyone can sign, as with an RSA key
// whose e is 1: each encoding of their y, which libsodium refuses too (its function
// ge25519_has_small_order).
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// checkCertificate compares the key with the one in its certificate, if it has one: RFC
// 7517, section 4.7, says that they are the same.
func (k *jwk) checkCertificate(public crypto.PublicKey) error {
	if len(k.Certificates) == 0 {
		return nil
	}
	der, err := base64.StdEncoding.DecodeString(k.Certificates[0])
	if err != nil {
		return errors.New("its x5c is not base64")
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return errors.New("its x5c is not a certificate")
	}
	key, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !key.Equal(certificate.PublicKey) {
		return errors.New("its x5c is of another key")
	}
	return nil
}

// decodeMember decodes base64url, with or without padding.
func decodeMember(name, text string) ([]byte, error) {
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, fmt.Errorf("its %s is not base64url", name)
	}
	if len(decoded) == 0 {
		return nil, fmt.Errorf("it has no %s", name)
	}
	return decoded, nil
}
