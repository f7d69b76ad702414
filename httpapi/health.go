package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
)

// health answers 200 while the process lives.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the body of /readyz.
type readiness struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
}

// ready answers 200 when Redis answers in time, otherwise 503.
func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.config.PingTimeout)
	defer cancel()
	status, answer := http.StatusOK, readiness{Status: "ready", Checks: map[string]string{
		"redis": "ok", "floor": "live",
		"eviction": h.config.Eviction(), "auth": h.config.AuthMode, // for the operator to judge
	}}
	if h.config.LimitsOff {
		answer.Checks["limits"] = "off"
	}
	if !h.config.FloorLive() {
		answer.Checks["floor"] = "stale" // the operations do without it
	}
	if err := h.config.Ping(ctx); err != nil {
		// Whoever watches Redis has logged the error; it is none of a caller's business.
		status, answer.Status, answer.Checks["redis"] = http.StatusServiceUnavailable, "not ready", "unavailable"
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
