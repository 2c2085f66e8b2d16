@0xcceb113a93bae5e2;

# The schema of the tests, of the example and of the figures: quotes with nested structs, lists and text, and a market
# that hands out a capability for each order and calls back one that it is given.

using Go = import "/go.capnp";
$Go.package("market");
$Go.import("github.com/shmchan/shmchan/capnp/internal/market");

struct Level {
  price @0 :Float64;
  size @1 :UInt32;
}

struct Venue {
  name @0 :Text;
  country @1 :Text;
}

struct Quote {
  symbol @0 :Text;
  time @1 :Int64; # nanoseconds since 1970
  venue @2 :Venue;
  bids @3 :List(Level);
  asks @4 :List(Level);
  tags @5 :List(Text);
}

enum Side {
  buy @0;
  sell @1;
}

struct Order {
  symbol @0 :Text;
  side @1 :Side;
  price @2 :Float64;
  size @3 :UInt32;
}

interface Market {
  quote @0 (symbol :Text) -> (quote :Quote);

  # place calls the listener when some of the order is filled.
  place @1 (order :Order, listener :Listener) -> (ticket :Ticket);
}

interface Listener {
  filled @0 (size :UInt32, price :Float64) -> ();
}

interface Ticket {
  status @0 () -> (filled :UInt32, left :UInt32);
}

# What only tests and figures call.
interface Lab extends(Market) {
  history @0 (symbol :Text, count :UInt32) -> (quotes :List(Quote));

  # never answers before it is cancelled.
  never @1 () -> ();

  echo @2 (data :Data) -> (data :Data);
}
