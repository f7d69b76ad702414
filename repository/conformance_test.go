package repository_test

import (
	"testing"

	"spoollock/lock/locktest"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
)

func TestConformanceRedis(t *testing.T) {
	t.Parallel()
	locktest.Run(t, open(t, redistest.Start(t).URL))
}

func TestConformanceEmbedded(t *testing.T) {
	t.Parallel()
	locktest.Run(t, open(t, redisurl.EmbeddedText))
}
