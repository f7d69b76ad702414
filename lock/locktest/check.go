package locktest

import (
	"testing"

	"spoollock/lock"
)

func check(t *testing.T, b *bench) {
	cmd := b.command()
	ask := func(token lock.Token) lock.Checked {
		t.Helper()
		checked, err := b.store.Check(b.ctx, lock.CheckCommand{Tag: b.tag, Token: token})
		must(t, err)
		return checked
	}
	if checked := ask(cmd.Token); checked.Valid || checked.Spool != (lock.Spool{Tag: b.tag}) {
		t.Fatalf("checked %+v before the take", checked)
	}
	taken := b.take(cmd)
	checked := ask(cmd.Token)
	if !checked.Valid {
		t.Fatal("the token that holds is not valid")
	}
	b.sameLock(*checked.Spool.Lock, taken)
	for _, token := range []lock.Token{newToken(t, ana), parseToken(t, cmd.Token.Reveal()+"0"), parseToken(t, cmd.Token.Reveal()[3:])} {
		if ask(token).Valid {
			t.Fatal("another token is valid")
		}
	}
	b.release(cmd.Token)
	if ask(cmd.Token).Valid {
		t.Fatal("a released token is valid")
	}
}
