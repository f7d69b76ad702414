package auth

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"spoollock/lock"
)

const keysUsage = `Usage: spoollock keys new -file FILE -namespace ID -name NAME [-scope ROLE] [-days N]

Makes a key for a partner or a machine, adds it to the file that AUTH_KEYS_FILE names,
and prints the credential, which is nowhere kept. A running service knows the key
within a second. A namespace can have two keys that have not ended, so that one can
take the other's place.

  -file       the file, which is made if there is none
  -namespace  the worker id of whoever has the key, without a dot in it
  -name       what people call them
  -scope      VIEWER, WORKER, PARTNER or ADMIN; PARTNER if it is left out
  -days       after how many days the key ends, 1 to 3650; 365 if it is left out
`

// KeysCommand is the command "spoollock keys", called with what follows that word. It
// makes a key and adds it to a file. The credential goes to stdout, alone, and
// everything else to help.
func KeysCommand(args []string, stdout, help io.Writer) error {
	flags := flag.NewFlagSet("keys", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file, namespace, name := flags.String("file", "", ""), flags.String("namespace", "", ""), flags.String("name", "", "")
	scope, days := flags.String("scope", string(lock.RolePartner), ""), flags.Int("days", 365, "")
	if len(args) == 0 || args[0] != "new" {
		_, err := io.WriteString(help, keysUsage)
		return err
	}
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(help, keysUsage)
		return err
	case err != nil, flags.NArg() > 0, *file == "", *days < 1, *days > 3650:
		return errors.New("the arguments are not understood; spoollock keys shows the usage")
	}
	credential, err := AddKey(*file, Key{
		Namespace: *namespace, Name: *name, Scopes: []lock.Role{lock.Role(*scope)},
		Expires: time.Now().AddDate(0, 0, *days).UTC().Truncate(time.Second),
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, credential); err != nil {
		return err
	}
	_, err = io.WriteString(help, "This is shown once. Send it as Authorization: Bearer …, or as X-API-Key.\n")
	return err
}
