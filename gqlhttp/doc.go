// Package gqlhttp serves a gqlgen schema over HTTP: queries and mutations by POST,
// queries by GET, and all operations, subscriptions included, over WebSocket and
// Server-Sent Events. It takes the place of gqlgen's handler.Server and transports.
// gqlgen's extensions and middleware cannot be added, but for Config.AroundRootFields.
//
// # What it speaks
//
// Each request is served by one of these, on one path:
//
//   - WebSocket, if the request is a handshake ([IsHandshake]): the subprotocol
//     graphql-transport-ws of https://github.com/enisdenjo/graphql-ws.
//   - Server-Sent Events, if a POST prefers text/event-stream by its Accept header: one
//     operation a request, which is the distinct connections mode of
//     https://github.com/enisdenjo/graphql-sse.
//   - Otherwise GraphQL over HTTP, as its working draft says
//     (https://graphql.github.io/graphql-over-http/draft/). It passes each of the 61
//     audits of the npm package graphql-http 1.22, those for MAY and SHOULD included.
//
// Requests are read strictly: a body is at most one JSON object in UTF-8 without a name
// that stands twice, and numbers arrive as they were written ([json.Number]). A request
// may name a document by the hash of an automatic persisted query, or by the documentId
// of a trusted document ([TrustedDocuments]). The incremental delivery of @defer is not
// offered.
//
// # What it guarantees
//
//   - A document is measured before it is validated, and each fragment of it once,
//     because the validation of a hostile document is work, too.
//   - Variables are checked before anything is executed, those of scalar types by
//     Config.CheckScalar: an operation that is refused for a variable has done nothing.
//   - A [Refusal] and the reason of a close never quote the request, which may hold
//     secrets. Config.Presenter decides about all other errors.
//   - A panic, in a resolver or around it, is an error made by Config.Recover. It ends
//     its operation, and not the process or the WebSocket.
//   - A subscription is asked for its next response when the one before was written.
//     Nothing is queued for a slow client, and it is cut off after StreamTimes.Write.
//   - Subscriptions that ask for the same can share what is executed (Config.ShareKey): the
//     response to an event is made once, and each writes it with its own id, at its own pace.
//   - Nothing stays of a stream that is over: no goroutine, and no connection.
//
// Origins and hosts are not checked: where browsers are among the clients, check both
// before. The handshake of a WebSocket is a GET that needs the protection of a POST.
//
// Streams need an [http.ResponseWriter] with the methods Hijack, Flush and
// SetWriteDeadline, or with Unwrap, see [http.ResponseController]. With any other one, such
// as a [net/http/httptest.ResponseRecorder], a WebSocket breaks and an event stream is
// empty.
//
// # Status
//
// An operation that was executed is answered 200, or 429 by Config.TrackRefusals. A
// document that is refused is answered 200 if the answer is application/json, and 400 if
// it is application/graphql-response+json; 403 if it is not a trusted one. An operation
// without data is answered 200, and 500 after a panic. What is no GraphQL request is
// answered with the status of its [Refusal]: 400, 405, 406, 413 or 415, or what
// Config.Authenticate says; 429 beyond a limit of [StreamLimits], and 503 if a stream is to
// begin during a shutdown.
//
// # Limits
//
// [RequestLimits] bound one request and [StreamLimits] what is open at a time;
// [StreamTimes] and Config.RequestTimeout bound waits. A zero is the default, which is a
// constant of this package: [DefaultTokens], [DefaultSubscriptions] and their neighbors.
// With Config.Units, RequestLimits also bound the work behind the schema, and Config.Admit
// can limit its rate.
// An error for a limit of RequestLimits has the extensions limitName, limit and actual, but
// for BodyBytes, and one for a limit of StreamLimits has reason and retryAfterSeconds.
//
// # Close codes
//
// A WebSocket is closed with one of these codes and reasons:
//
//	1001  Shutting down                      by Shutdown, once its operations are answered
//	1009  read limited at … bytes            for a message larger than RequestLimits.BodyBytes
//	1013  Too many WebSockets                for a connection_init of a caller who has
//	                                         StreamLimits.PerCaller of them
//	1013  Try again later                    if Config.Authenticate refuses the
//	                                         connection_init with the status 503
//	4400  Invalid message received           for what is not a client's message of the protocol
//	4401  Unauthorized                       for a subscribe before the connection_ack, or if
//	                                         Config.Authenticate refuses the connection_init
//	4403  Forbidden                          if it refuses that with the status 403
//	4403  Credential has ended               when the caller expires, is refused later, or changes
//	4406  Subprotocol not acceptable         if graphql-transport-ws is not offered
//	4408  Connection initialisation timeout  without a connection_init within StreamTimes.Init
//	4409  Subscriber already exists          for a subscribe with an id that is in use
//	4429  Too many initialisation requests   for a second connection_init
//	4429  Too many operations                beyond StreamLimits.OperationsPerSocket
//	4429  Too many messages                  beyond StreamLimits.MessagesPerSecond
//
// A peer that is silent for two to three times StreamTimes.KeepAlive, or doesn't read for
// StreamTimes.Write, is cut off without a close. A subscription beyond another limit of
// StreamLimits is refused by an error message, and the socket stays.
//
// # Shutdown
//
// [http.Server.Shutdown] does not end streams: call [Handler.Shutdown] next to it. From
// then on no stream begins (503). Subscriptions end at once, those over Server-Sent
// Events without the event complete, so that clients connect elsewhere. Queries and
// mutations under way are answered. Then WebSockets close with 1001. What is left when
// the context is done is cut off.
package gqlhttp
