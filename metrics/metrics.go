// Package metrics says in Prometheus' format what the service is doing. Its label
// values come from the schema and the code, never from a request.
package metrics

import (
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"spoollock/floor"
	"spoollock/gqlhttp"
	"spoollock/repository"
)

// Sources are what is asked at each scrape. Every field is required but KeySetAge.
type Sources struct {
	Floor   func() floor.Status
	Redis   func() repository.Stats
	Health  func() (ready bool, checks map[string]string) // as httpapi.Config has it
	Retries func() int64                                  // of operations
	Streams func() gqlhttp.StreamCounts

	// KeySetAge says how long ago the issuer's key set was read and good; false: it never was.
	KeySetAge func() (age time.Duration, known bool)
}

// Metrics collects them. It is safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	operations *prometheus.HistogramVec
}

// New returns Metrics with a registry of its own.
func New(sources Sources) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spoollock_operation_duration_seconds",
			Help:    "Time that root fields of the schema took, each item of several counted, by the code of the error; OK: none, CALLER_GONE: nobody waited for Redis.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"operation", "outcome"}),
	}
	m.registry.MustRegister(m.operations, collector(sources.samples), health(sources.Health),
		collectors.NewBuildInfoCollector(), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if sources.KeySetAge != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spoollock_key_set_age_seconds",
			Help: "How long ago the issuer's key set was read and good; +Inf: it never was.",
		}, func() float64 {
			if age, known := sources.KeySetAge(); known {
				return age.Seconds()
			}
			return math.Inf(1)
		}))
	}
	return m
}

// Operation counts a root field that was answered, or an item of one.
func (m *Metrics) Operation(name, outcome string, d time.Duration) {
	m.operations.WithLabelValues(name, outcome).Observe(d.Seconds())
}

// Handler serves the metrics.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), // most are of clients that leave,
	})
}

// sample is one value at the time of a scrape.
type sample struct {
	name, help string
	kind       prometheus.ValueType
	value      float64
}

func (s Sources) samples() []sample {
	f, r, streams := s.Floor(), s.Redis(), s.Streams()
	age := 0.
	if !f.AsOf.IsZero() {
		age = max(0, time.Since(f.AsOf).Seconds())
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []sample{
		{"spoollock_operation_retries_total", "Attempts at Redis that were not the first of their operation.", counter, float64(s.Retries())},

		{"spoollock_redis_round_trips_total", "Round trips to Redis; a pipeline is one.", counter, float64(r.RoundTrips)},
		{"spoollock_redis_round_trips_failed_total", "Round trips to Redis that got no answer.", counter, float64(r.Failed)},
		{"spoollock_redis_round_trip_seconds_total", "Time of all round trips to Redis, waiting for a connection included.", counter, r.Time.Seconds()},
		{"spoollock_redis_connections", "Connections to Redis, that of the feed not counted.", gauge, float64(r.Connections)},
		{"spoollock_redis_connections_idle", "Connections to Redis that nothing uses.", gauge, float64(r.Idle)},
		{"spoollock_redis_connection_waits_total", "Waits for a connection, as none was free.", counter, float64(r.Waits)},
		{"spoollock_redis_connection_wait_seconds_total", "Time of all waits for a connection.", counter, r.WaitTime.Seconds()},
		{"spoollock_redis_connection_timeouts_total", "Waits for a connection that were in vain.", counter, float64(r.Timeouts)},

		{"spoollock_floor_live", "Whether the view of the floor is complete up to its time: 1 or 0.", gauge, oneIf(f.Live)},
		{"spoollock_floor_age_seconds", "How old the view of the floor is, by the clocks of this machine and Redis; 0: it was never live.", gauge, age},
		{"spoollock_floor_locks", "Locks on the floor.", gauge, float64(f.Held)},
		{"spoollock_floor_foreign_tags", "Locks whose tags are not canonical, on the floor or too long for it: no operation can reach them.", gauge, float64(f.Foreign) + float64(r.UnlistableTags)},
		{"spoollock_floor_changes_total", "Changes of the view of the floor.", counter, float64(f.Changes)},
		{"spoollock_floor_gaps_total", "Gaps in the feed's messages.", counter, float64(f.Gaps)},
		{"spoollock_floor_clocks_set_total", "Times that a clock of Redis was set, or another server took over, and the view of the floor was rebuilt.", counter, float64(f.ClocksSet)},
		{"spoollock_floor_odd_messages_total", "Messages on the feed's channel that are not the service's.", counter, float64(r.ForeignMessages)},
		{"spoollock_floor_rebuilds_total", "Rebuilds of the view of the floor.", counter, float64(f.Rebuilds)},
		{"spoollock_floor_last_rebuild_seconds", "How long the last rebuild took.", gauge, f.RebuildTime.Seconds()},
		{"spoollock_floor_subscribers", "Subscribers of the floor.", gauge, float64(f.Subscribers)},
		{"spoollock_floor_messages_total", "Messages to subscribers of the floor.", counter, float64(f.Messages)},
		{"spoollock_floor_merged_changes_total", "Changes that a subscriber was spared because a newer one of the spool came.", counter, float64(f.Merged)},
		{"spoollock_floor_dropped_subscribers_total", "Times that a subscriber was too slow for the changes, and began anew with a snapshot.", counter, float64(f.Snapshots)},

		{"spoollock_websockets", "Open WebSockets.", gauge, float64(streams.WebSockets)},
		{"spoollock_event_streams", "Open streams of Server-Sent Events.", gauge, float64(streams.EventStreams)},
		{"spoollock_subscriptions", "Subscriptions that run, over either.", gauge, float64(streams.Subscriptions)},
		{"spoollock_streams_refused_total", "WebSockets, operations over streams, and messages of WebSockets that were refused, as they were beyond a limit.", counter, float64(streams.Refused)},
	}
}

// collector makes metrics of samples.
type collector func() []sample

// Describe implements [prometheus.Collector]. It says nothing: what is collected is
// checked at each scrape.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	for _, s := range c() {
		metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc(s.name, s.help, nil, nil), s.kind, s.value)
	}
}

// health makes metrics of the checks.
type health func() (ready bool, checks map[string]string)

var (
	readyDesc   = prometheus.NewDesc("spoollock_ready", "Whether the service is ready, as /readyz says: 1 or 0.", nil, nil)
	failingDesc = prometheus.NewDesc("spoollock_check_failing", "Whether a check fails, as /readyz says: 1 or 0.", []string{"check"}, nil)
)

// Describe implements [prometheus.Collector].
func (health) Describe(descs chan<- *prometheus.Desc) {
	descs <- readyDesc
	descs <- failingDesc
}

// Collect implements [prometheus.Collector].
func (h health) Collect(metrics chan<- prometheus.Metric) {
	ready, checks := h()
	metrics <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, oneIf(ready))
	for check, state := range checks {
		metrics <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, oneIf(state != "ok"), check)
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
