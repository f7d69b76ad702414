package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"spoollock/files"
	"spoollock/lock"
)

// Key is one that a partner or a machine shows, as the file of keys has it. The secret
// itself is nowhere kept.
type Key struct {
	// ID is what stands before the dot in the credential: 1 to 64 of the characters a-z,
	// 0-9 and -.
	ID string `json:"id"`

	// SHA256 is that of the secret, which stands behind the dot, in hexadecimal.
	SHA256 string `json:"sha256"`

	// Scopes are the roles that the key has.
	Scopes []lock.Role `json:"scopes"`

	// Namespace is the worker id of whoever has the key, without a dot in it; with the
	// scope PARTNER, the workers whose ids begin with it and a dot are theirs, too.
	Namespace string `json:"namespace"`

	// Name is what people call whoever has the key.
	Name string `json:"name"`

	// Expires is when the key ends.
	Expires time.Time `json:"expires"`
}

// maxLiveKeys is the most keys of a namespace that have not ended: the one in use, and the
// next.
const maxLiveKeys = 2

// Keys authenticates callers by the keys in a file. A change of the file counts within a
// second. While the file cannot be read or used, the keys are as they were: the log says so,
// and Err.
type Keys struct {
	file   *files.Latest
	inFile atomic.Pointer[keyTable]
}

// keyTable is what a file of keys holds.
type keyTable struct {
	byID       map[string]Key
	namespaces map[lock.WorkerID]bool
}

// LoadKeys reads the file, which has the JSON object {"keys": […]} of [Key], and reads it
// again when it changes, until ctx is done.
func LoadKeys(ctx context.Context, file string, log *slog.Logger) (*Keys, error) {
	k := &Keys{}
	k.file = &files.Latest{
		Use:     k.use,
		Secret:  func() bool { return true }, // a secret that a person chose can be guessed from its SHA-256
		Changed: "the file of keys was read",
		Failed:  "the file of keys cannot be read, the keys are as they were",
		Log:     log,
	}
	if err := k.file.Load(file); err != nil {
		return nil, fmt.Errorf("the file of keys: %w", err)
	}
	go k.file.Watch(ctx, file)
	return k, nil
}

func (k *Keys) use(content []byte) error {
	keys, err := parseKeys(content)
	if err != nil {
		return err
	}
	table := &keyTable{map[string]Key{}, map[lock.WorkerID]bool{}}
	for _, key := range keys {
		table.byID[key.ID] = key
		table.namespaces[lock.WorkerID(key.Namespace)] = true
	}
	k.inFile.Store(table)
	return nil
}

// Err says why the file cannot be read or used at present.
func (k *Keys) Err() error {
	_, err := k.file.Status()
	return err
}

// owns reports whether the worker id is that of a key or of a partner's worker.
func (k *Keys) owns(worker lock.WorkerID) bool {
	namespace, _, _ := strings.Cut(string(worker), ".")
	return k.inFile.Load().namespaces[lock.WorkerID(namespace)]
}

// Identify implements [Identify].
func (k *Keys) Identify(_ context.Context, credential string) (Identity, error) {
	if credential == "" {
		return Identity{}, errNoCredential
	}
	id, secret, _ := strings.Cut(credential, ".")
	key, known := k.inFile.Load().byID[id]
	sum := sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(key.SHA256)) == 1
	switch {
	case !known:
		return Identity{}, fmt.Errorf("%w: the key is not known", ErrRefused)
	case !same:
		return Identity{}, fmt.Errorf("%w: the secret is not that of the key %s", ErrRefused, id)
	case !time.Now().Before(key.Expires):
		return Identity{}, fmt.Errorf("%w: the key %s has ended", ErrRefused, id)
	}
	identity := Identity{Expires: key.Expires}
	identity.Worker = lock.Worker{ID: lock.WorkerID(key.Namespace), Name: key.Name}
	identity.Role = highestRole(key.Scopes)
	return identity, nil
}

// highestRole is the role that includes the others; empty if there is none.
func highestRole(roles []lock.Role) (highest lock.Role) {
	for _, role := range roles {
		if highest == "" || role.Includes(highest) {
			highest = role
		}
	}
	return highest
}

var keyID = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func parseKeys(content []byte) ([]Key, error) {
	var object struct {
		Keys *[]Key `json:"keys"`
	}
	if err := jsonv2.Unmarshal(content, &object, jsonv2.RejectUnknownMembers(true), jsonv2.MatchCaseInsensitiveNames(true)); err != nil {
		return nil, withoutValues(err)
	}
	if object.Keys == nil {
		return nil, errors.New("it has no array keys")
	}
	return *object.Keys, checkKeys(*object.Keys)
}

// withoutValues says what is wrong with a JSON text, and where, but quotes no value: it may
// be a secret in the wrong place.
func withoutValues(err error) error {
	var semantic *jsonv2.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		return fmt.Errorf("the name %.100s is there twice", syntactic.JSONPointer)
	case errors.As(err, &syntactic):
		return fmt.Errorf("after %d bytes it is no JSON: %w", syntactic.ByteOffset, syntactic.Err)
	case errors.As(err, &semantic) && errors.Is(err, jsonv2.ErrUnknownName):
		return fmt.Errorf("the name %.100s is not known", semantic.JSONPointer)
	case errors.As(err, &semantic) && semantic.JSONPointer != "":
		return fmt.Errorf("%.100s has not the form that it should have", semantic.JSONPointer)
	default:
		return errors.New("it is no JSON object")
	}
}

func checkKeys(keys []Key) error {
	ids, live := map[string]bool{}, map[string]int{}
	for i := range keys {
		key := &keys[i]
		if err := key.check(); err != nil {
			return fmt.Errorf("the key %q: %w", key.ID, err)
		}
		if ids[key.ID] {
			return fmt.Errorf("the key %q is there twice", key.ID)
		}
		ids[key.ID] = true
		if time.Now().Before(key.Expires) {
			live[key.Namespace]++
		}
		if live[key.Namespace] > maxLiveKeys {
			return fmt.Errorf("the namespace %s has more than %d keys that have not ended", key.Namespace, maxLiveKeys)
		}
	}
	return nil
}

func (k *Key) check() error {
	if !keyID.MatchString(k.ID) {
		return errors.New("id must have 1 to 64 of a-z 0-9 -")
	}
	if sum, err := hex.DecodeString(k.SHA256); err != nil || len(sum) != sha256.Size || strings.ToLower(k.SHA256) != k.SHA256 {
		return errors.New("sha256 must have 64 hexadecimal digits, in lower case")
	}
	if len(k.Scopes) == 0 {
		return errors.New("scopes must name a role")
	}
	for _, scope := range k.Scopes {
		if _, ok := lock.ParseRole(string(scope)); !ok {
			return fmt.Errorf("%q is no role", scope)
		}
	}
	if _, err := lock.ParseWorkerID(k.Namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	if strings.Contains(k.Namespace, ".") {
		return errors.New("namespace must not contain a dot")
	}
	name, err := lock.ParseWorkerName(k.Name)
	k.Name = name
	return err
}

// AddKey makes a key and adds it to the file, which it makes if there is none. It returns
// the credential, which cannot be had again. Calls at the same time wait for each other, in
// other processes too.
func AddKey(file string, key Key) (credential string, err error) {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	unlock, err := lockDirectory(filepath.Dir(file))
	if err != nil {
		return "", fmt.Errorf("the file of keys: %w", err)
	}
	defer unlock()
	keys, err := readKeys(file)
	if err != nil {
		return "", fmt.Errorf("the file of keys: %w", err)
	}
	secret := make([]byte, sha256.Size)
	suffix := make([]byte, 4)
	_, _ = rand.Read(secret) // it never fails
	_, _ = rand.Read(suffix)
	text := base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(text))
	prefix := strings.ToLower(strings.ReplaceAll(key.Namespace, "_", "-"))
	key.ID = prefix[:min(len(prefix), 55)] + "-" + hex.EncodeToString(suffix)
	key.SHA256 = hex.EncodeToString(sum[:])
	keys = append(keys, key)
	if err := checkKeys(keys); err != nil {
		return "", err
	}
	encoded, err := json.MarshalIndent(map[string][]Key{"keys": keys}, "", "  ")
	if err != nil {
		return "", err
	}
	if len(encoded) >= files.MaxBytes {
		return "", errors.New("the file of keys is full: take keys out that have ended")
	}
	if err := writeAtomically(file, append(encoded, '\n')); err != nil {
		return "", err
	}
	return key.ID + "." + text, nil
}

// readKeys reads a file of keys; one that is not there has none.
func readKeys(file string) ([]Key, error) {
	content, err := files.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseKeys(content)
}

// lockDirectory waits until no other process has the directory locked. A file in it could
// not be locked, because writeAtomically puts another in its place. A file system that
// cannot lock directories, such as NFS, is used without.
func lockDirectory(name string) (unlock func(), err error) {
	directory, err := os.Open(name) //nolint:gosec // it is the operator's own
	if err != nil {
		return nil, err
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(directory.Fd()), syscall.LOCK_EX) //nolint:gosec // a descriptor is an int
	}
	if err != nil && !errors.Is(err, syscall.EBADF) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOLCK) {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), directory.Close())
	}
	return func() { _ = directory.Close() }, nil
}

// writeAtomically writes the file in one step: a reader sees the old content or the new
// one. A file that exists keeps its owner and mode; a new one is readable by its owner
// alone.
func writeAtomically(file string, content []byte) error {
	next, err := os.CreateTemp(filepath.Dir(file), ".keys-*")
	if err != nil {
		return fmt.Errorf("write the file of keys: %w", err)
	}
	defer os.Remove(next.Name()) //nolint:errcheck // it has been renamed
	if info, statErr := os.Stat(file); statErr == nil {
		err = next.Chmod(info.Mode().Perm())
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			err = errors.Join(err, next.Chown(int(owner.Uid), int(owner.Gid)))
		}
	}
	_, writeErr := next.Write(content)
	err = errors.Join(err, writeErr, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write the file of keys: %w", err)
	}
	return nil
}
