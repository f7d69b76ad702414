package auth_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"spoollock/auth"
)

// asKeysCommand is the variable with which the test binary is the command keys.
const asKeysCommand = "SPOOLLOCK_TEST_KEYS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asKeysCommand) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := auth.KeysCommand(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
