package repository

// PoolInUse is how many connections are at work.
func (r *Redis) PoolInUse() int {
	stats := r.client.PoolStats()
	return int(stats.TotalConns) - int(stats.IdleConns)
}
