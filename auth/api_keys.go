package auth

import (
	"bytes"
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
	"sync"
	"syscall"
	"time"

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

// checkInterval is the least time between two checks whether the file has changed.
const checkInterval = time.Second

// Keys says who calls by the keys in a file. A change of the file counts within a second;
// one that cannot be read does not, and is said in the log.
type Keys struct {
	file string
	log  *slog.Logger

	mu         sync.Mutex
	checked    time.Time   // when the file was checked last
	loaded     fs.FileInfo // of the file that byID was read from
	unreadable bool        // the last check could not read the file, and the log says so
	byID       map[string]Key
	namespaces map[lock.WorkerID]bool
}

// LoadKeys reads the file, which has the JSON object {"keys": […]} of [Key].
func LoadKeys(file string, log *slog.Logger) (*Keys, error) {
	k := &Keys{file: file, log: log}
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Keys) load() error {
	info, err := os.Stat(k.file)
	if err != nil {
		return fmt.Errorf("the file of keys: %w", err)
	}
	keys, err := readKeys(k.file)
	if err != nil {
		return err
	}
	k.loaded, k.byID, k.namespaces = info, map[string]Key{}, map[lock.WorkerID]bool{}
	for _, key := range keys {
		k.byID[key.ID] = key
		k.namespaces[lock.WorkerID(key.Namespace)] = true
	}
	return nil
}

// reloadIfChanged loads the file again if it has changed or could not be read before. It
// is called with the lock held.
func (k *Keys) reloadIfChanged(now time.Time) {
	if now.Sub(k.checked) < checkInterval {
		return
	}
	k.checked = now
	info, err := os.Stat(k.file)
	if err == nil && !k.unreadable && os.SameFile(info, k.loaded) && info.ModTime().Equal(k.loaded.ModTime()) && info.Size() == k.loaded.Size() {
		return
	}
	err = k.load()
	if err == nil {
		k.log.Info("the file of keys was read", "keys", len(k.byID))
	} else if !k.unreadable {
		k.log.Error("the file of keys cannot be read, the keys are as they were", "error", err)
	}
	k.unreadable = err != nil
}

// owns reports whether the worker id is that of a key or of a partner's worker.
func (k *Keys) owns(worker lock.WorkerID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reloadIfChanged(time.Now())
	namespace, _, _ := strings.Cut(string(worker), ".")
	return k.namespaces[lock.WorkerID(namespace)]
}

// Identify implements [Identify].
func (k *Keys) Identify(_ context.Context, credential string) (Identity, error) {
	if credential == "" {
		return Identity{}, errNoCredential
	}
	id, secret, _ := strings.Cut(credential, ".")
	now := time.Now()
	k.mu.Lock()
	k.reloadIfChanged(now)
	key, known := k.byID[id]
	k.mu.Unlock()
	sum := sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(key.SHA256)) == 1
	switch {
	case !known:
		return Identity{}, fmt.Errorf("%w: the key is not known", ErrRefused)
	case !same:
		return Identity{}, fmt.Errorf("%w: the secret is not that of the key %s", ErrRefused, id)
	case !now.Before(key.Expires):
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

func readKeys(file string) ([]Key, error) {
	text, err := os.ReadFile(file) //nolint:gosec // it is the operator's own
	if err != nil {
		return nil, fmt.Errorf("the file of keys: %w", err)
	}
	var content struct {
		Keys []Key `json:"keys"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&content); err != nil {
		return nil, fmt.Errorf("the file of keys: %w", err)
	}
	return content.Keys, checkKeys(content.Keys)
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
// the credential, which cannot be had again. Of two at the same time, one may be lost.
func AddKey(file string, key Key) (credential string, err error) {
	keys, err := readKeys(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
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
	if err := writeAtomically(file, append(encoded, '\n')); err != nil {
		return "", err
	}
	return key.ID + "." + text, nil
}

// writeAtomically writes the file in one step: a reader sees the old content or the new
// one. A file that exists keeps its owner and mode; a new one is readable by its owner
// alone.
func writeAtomically(file string, content []byte) error {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
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
