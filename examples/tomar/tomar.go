// Tomar takes a spool, is refused it as another worker, and releases it.
//
// Usage:
//
//	tomar [tag]
//
// The service is at GRAPHQL_URL; CREDENTIAL is a key or a token, if it asks for one.
// tomar.py does the same in Python.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
)

// An Error is what an operation failed with.
type Error struct {
	Message    string
	Extensions struct {
		Code      string
		OwnerID   string
		OwnerName string
		ExpiresAt string
	}
}

// Error implements error.
func (e *Error) Error() string { return e.Extensions.Code + ": " + e.Message }

// send sends one request and decodes the data of its answer.
func send(ctx context.Context, query string, input map[string]any, data any) error {
	body, err := json.Marshal(map[string]any{"query": query, "variables": map[string]any{"input": input}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, serviceURL(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if credential := os.Getenv("CREDENTIAL"); credential != "" {
		request.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	answer := struct {
		Data   any
		Errors []*Error
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("answer of status %s: %w", response.Status, err)
	}
	if len(answer.Errors) > 0 {
		return answer.Errors[0]
	}
	return nil
}

func serviceURL() string {
	if url := os.Getenv("GRAPHQL_URL"); url != "" {
		return url
	}
	return "http://localhost:8080/graphql"
}

// A Taken is the answer to a take.
type Taken struct {
	LockToken string
	Lock      struct {
		Version   int64
		ExpiresAt string
	}
}

// Take takes the spool for the worker. It returns *Error with SPOOL_OCCUPIED if another
// lock holds the spool.
func Take(ctx context.Context, tag, workerID, workerName string) (Taken, error) {
	const query = `mutation($input: TomarSpoolInput!) {
		tomarSpool(input: $input) { lockToken lock { version expiresAt } }
	}`
	input := map[string]any{
		"tagSpool": tag, "workerId": workerID, "workerNombre": workerName,
		"requestId": uuid.NewString(), // one for all attempts, so a retry is safe
	}
	for attempt := 1; ; attempt++ {
		var data struct{ TomarSpool Taken }
		err := send(ctx, query, input, &data)
		var refused *Error
		if err == nil || attempt == 3 || errors.As(err, &refused) && refused.Extensions.Code != "SERVICE_UNAVAILABLE" {
			return data.TomarSpool, err
		}
	}
}

// Release releases the spool and returns what became of the token.
func Release(ctx context.Context, tag, token string) (outcome string, err error) {
	const query = `mutation($input: ReleaseSpoolInput!) { releaseSpool(input: $input) { outcome } }`
	var data struct{ ReleaseSpool struct{ Outcome string } }
	err = send(ctx, query, map[string]any{"tagSpool": tag, "lockToken": token}, &data)
	return data.ReleaseSpool.Outcome, err
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	tag := "MK-1335-CW-25238-014"
	if len(os.Args) > 1 {
		tag = os.Args[1]
	}
	taken, err := Take(ctx, tag, "93", "MR(93)")
	if err != nil {
		return err
	}
	fmt.Println(tag, "is ours until", taken.Lock.ExpiresAt)
	_, err = Take(ctx, tag, "94", "JP(94)")
	var refused *Error
	switch {
	case err == nil:
		return errors.New("the second take was not refused")
	case !errors.As(err, &refused) || refused.Extensions.Code != "SPOOL_OCCUPIED":
		return fmt.Errorf("the second take: %w", err)
	}
	fmt.Println(tag, "is held by", refused.Extensions.OwnerName, "until", refused.Extensions.ExpiresAt)
	outcome, err := Release(ctx, tag, taken.LockToken)
	fmt.Println(tag, outcome)
	return err
}
