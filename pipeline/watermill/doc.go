// Package watermill carries Watermill's messages over JetStream: a
// message.Publisher and a message.Subscriber for any payload, passing Watermill's
// own suite. pipeline.Consume is the way to get events; this is a transport for
// what people's handlers say to each other.
//
// The invariant: a message whose Publish returned nil is on the broker's disk,
// and each group gets it until one of its subscribers has said Ack.
//
//	t := watermill.Transport{Conn: conn, Group: "billing"}
//	pub, err := watermill.NewPublisher(ctx, t)
//	sub, err := watermill.NewSubscriber(ctx, t)
package watermill
