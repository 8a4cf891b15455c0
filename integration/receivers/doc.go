// Package receivers sends notifications and errors to real servers, so that what
// the tests of package sinks think of the other side is checked against it.
//
// Spotlight listens on every address; loopback.cjs keeps it on this machine's own.
//
// Slack has no server to run. slack-go's slacktest is none either: it reads forms
// where we send JSON, says ok whatever the blocks hold, and has neither webhooks nor
// chat.update. The stubs of sinkstest check what Slack documents.
package receivers
