package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
)

// health answers 200 while the process lives.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the body of /readyz.
type readiness struct {
	Status  string            `json:"status"`
	Failing []string          `json:"failing,omitempty"` // names of checks
	Checks  map[string]string `json:"checks"`
}

// ready answers 503 when the service is of use to no one, otherwise 200, and says what fails. It
// asks no one: what fails is watched, and logged, elsewhere.
func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	ready, checks := h.config.Health()
	answer := readiness{Status: "ready", Checks: map[string]string{
		"floor": "live", "eviction": h.config.Eviction(), "auth": h.config.AuthMode, // the last two for the operator to judge
	}}
	if h.config.LimitsOff {
		answer.Checks["limits"] = "off"
	}
	if !h.config.FloorLive() {
		answer.Checks["floor"] = "stale" // the operations do without it
		answer.Failing = append(answer.Failing, "floor")
	}
	for check, state := range checks {
		answer.Checks[check] = state
		if state != "ok" {
			answer.Failing = append(answer.Failing, check)
		}
	}
	slices.Sort(answer.Failing)
	if len(answer.Failing) > 0 {
		answer.Status = "degraded"
	}
	status := http.StatusOK
	if !ready {
		status, answer.Status = http.StatusServiceUnavailable, "not ready"
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
