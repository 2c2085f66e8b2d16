/*
Package shmchan gives several processes one Go channel: typed, lock-free, in shared
memory, with no daemon and no serialisation. Two programs that open the same name
share it:

	ch, err := shmchan.Open[Tick]("ticks") // chan Tick, in each of them

# Which call

[Open] is chan T, [OpenSender] chan<- T, [OpenReceiver] <-chan T. The first to come
makes the channel. Send, Recv, TrySend, TryRecv, Close and range ([Receiver.All]) are
what they are for a channel of Go; the differences are that calls return errors where
Go panics or gives a zero value, and that Close may be called by any side, once.

  - [Sender.SendContext] and [Receiver.RecvContext] end with a context.
  - [Sender.SendBatch] and [Receiver.RecvBatch] move many values for one wake.
  - [Sender.SendFunc] builds the value where it will lie; [Receiver.RecvFunc] reads it
    there, and the value counts as received only when the function has succeeded: a
    process that dies in it loses nothing.
  - [WithSingleSender] and [WithSingleReceiver] are for channels with one sender, one
    receiver, or both: faster, and a second one is refused.
  - [OpenBytes] is for messages of bytes of any length up to [WithMaxMessage].
  - [OpenDuplex] and [OpenBytesDuplex] are pairs: two sides that talk to each other, each
    held once, and told when the other has gone.
  - [New] makes a channel without a name, which others get to by its files ([Chan.Files]).
  - [OpenRaw], [Watch], [Inspect] and [List] are for programs that do not have the type.

To wait for one of several there are three ways:

  - [Select] and [TrySelect], if all are shared channels: no goroutine stands between, and nothing
    is taken before its case runs.
  - [Receiver.RecvChan] and [Sender.SendChan] are ordinary channels, for a select statement with timers and
    other Go channels beside them. A goroutine stands between, which holds a value.
  - [Receiver.RecvFD] and [Sender.SendFD] are descriptors, for an event loop that waits by
    poll, epoll or kqueue for sockets too, also in another language.

Capacity is exact, and 0 is a rendezvous: a Send returns when its value was received.

# What may cross

Types of fixed size without pointers: booleans, integers, floats, complex numbers,
arrays and structs of them. Open refuses others with a [TypeError] that names the field.
The channel keeps the layout of its type, field by field; a program whose type differs
gets a [MismatchError] that names the first difference. Names of types and packages do
not count, so two programs may each declare the struct.

# Guarantees

  - A value whose Send returned nil is received exactly once, or is still in the
    channel. Each sender's values are received in its order.
  - Any process may be killed at any instruction: the others go on within 100 ms, no
    value that was in the channel is lost, none is torn. (A receiver killed between
    taking a value out and returning from Recv takes that one along; RecvFunc closes that
    gap. The value then comes later than it would have, to another.)
  - A stopped process is not a dead one. Nothing is taken from it. It holds up its own
    slot only.
  - Nothing in the shared bytes makes a call crash, read out of bounds, hang or return a
    value that is none: it is [ErrCorrupt].
  - A blocked call costs next to nothing and holds no thread.

# Life and death

A handle is attached until [Chan.Detach] or the end of its process. A channel that
nobody holds stays, with its values, until it is opened again or removed ([Remove]); but
the last to leave a closed channel removes it. What proves that a process is dead is a
lock that the kernel held for it, never a timeout.

# Goroutines and memory

A handle may be used by many goroutines, but for single roles. What happens before a
Send happens before the Recv of its value, in the sense of the Go memory model, also for
the race detector; and so does a Recv before the Send that uses its slot again, and a
Close before the receive that reports it.

# Compatibility

Programs share a channel if their [LayoutVersion], byte order and type's layout are the
same. On 32-bit x86 an int64 is aligned to 4 bytes and on 64-bit systems to 8, which is a
different layout. Linux is what this package is tested on; macOS compiles and has not
been run.
*/
package shmchan
