// Package httpapi serves the lock service over HTTP: GraphQL (package gqlhttp), the
// schema, the playground, and what an operator asks of a process.
//
// A request passes these in order. What they refuse is answered with a [gqlhttp.Refusal],
// if nothing else is said:
//
//   - [Addresses.Listener] closes a connection beyond those that its address may have.
//   - securityHeaders sets what every answer has.
//   - ownHosts refuses a Host that is not the service's.
//   - ownOrigins answers the preflights of allowed origins, and refuses a POST or a
//     WebSocket's handshake of a page of any other one.
//   - [Addresses.Handler] makes RemoteAddr the client behind a trusted proxy, and refuses
//     requests beyond those that this client may have under way.
//   - cleanPaths answers 404 where the mux would redirect.
//   - The mux finds the route: health.go, pages.go, package web, or /graphql.
//   - On /graphql, [gqlhttp.Handler] calls authenticate before anything else, and has the
//     resolvers find the [lock.Caller] in their context.
package httpapi
