//! The bench's peer for iceoryx2: publish and subscribe, one publisher, one subscriber
//! whose buffer is the capacity, and a publisher that waits when it is full.
//!
//! In the rows spin and one way the subscriber looks again and again, which is its
//! lowest latency; in park and idle each value comes with an event, for which it waits.

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use peer::{serve, work, Args, End};
use std::time::Duration;

type S = ipc::Service;
type Value<const W: usize> = [u64; W];

struct Port<const W: usize> {
    out: Option<(Publisher<S, Value<W>, ()>, Option<Notifier<S>>)>,
    back: Option<(Subscriber<S, Value<W>, ()>, Option<Listener<S>>)>,
}

impl<const W: usize> Port<W> {
    /// Calls use with a pointer to the value where it lies.
    #[inline(always)]
    fn take(&mut self, mut seen: impl FnMut(&Value<W>)) {
        let (subscriber, listener) = self.back.as_ref().expect("a subscriber");
        loop {
            if let Some(sample) = subscriber.receive().expect("receive") {
                seen(&sample);
                return;
            }
            match listener {
                Some(l) => {
                    l.blocking_wait(|_| {}).expect("wait");
                }
                None => std::hint::spin_loop(),
            }
        }
    }
}

impl<const W: usize> End<W> for Port<W> {
    #[inline(always)]
    fn send(&mut self, v: &Value<W>) {
        let (publisher, notifier) = self.out.as_ref().expect("a publisher");
        let mut sample = publisher.loan_uninit().expect("loan");
        let to = sample.payload_mut().as_mut_ptr();
        // All of the value is written, so that it is one.
        let sample = unsafe {
            std::ptr::copy_nonoverlapping(v, to, 1);
            sample.assume_init()
        };
        sample.send().expect("send");
        if let Some(n) = notifier {
            n.notify().expect("notify");
        }
    }

    #[inline(always)]
    fn recv(&mut self, v: &mut Value<W>) {
        self.take(|got| *v = *got);
    }

    fn send_in_place(&mut self, v: &Value<W>) {
        self.send(v);
    }

    fn recv_in_place(&mut self, v: &mut Value<W>) {
        self.recv(v);
    }
}

fn run<const W: usize>(a: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(a.dir.as_bytes())?);
    config.global.prefix = FileName::new(a.id.as_bytes())?;
    let node = NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<S>()?;
    let parks = a.wait == "park" || a.row == "idle";
    let two_way = a.row == "pingpong";
    let sends = a.role == "send";
    let mut port = Port { out: None, back: None };
    let mut services = Vec::new();
    for name in ["there", "back"] {
        if name == "back" && !two_way {
            continue;
        }
        let outwards = (name == "there") == sends;
        let service = node
            .service_builder(&name.try_into()?)
            .publish_subscribe::<Value<W>>()
            .max_publishers(1)
            .max_subscribers(1)
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(a.cap)
            .open_or_create()?;
        let events = node.service_builder(&name.try_into()?).event().open_or_create()?;
        if outwards {
            let publisher = service
                .publisher_builder()
                .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
                .create()?;
            let notifier = if parks { Some(events.notifier_builder().create()?) } else { None };
            port.out = Some((publisher, notifier));
        } else {
            let listener = if parks { Some(events.listener_builder().create()?) } else { None };
            let subscriber = service.subscriber_builder().buffer_size(a.cap).create()?;
            port.back = Some((subscriber, listener));
        }
        services.push(service);
    }
    // Who publishes before the other has subscribed does so in vain.
    for service in &services {
        while service.dynamic_config().number_of_subscribers() == 0
            || service.dynamic_config().number_of_publishers() == 0
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    serve(|| vec![work(a, &mut port)]);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    set_log_level(LogLevel::Error);
    let a = Args::parse();
    match a.size {
        8 => run::<1>(&a),
        64 => run::<8>(&a),
        1024 => run::<128>(&a),
        65528 => run::<8191>(&a),
        _ => panic!("no values of {} bytes", a.size),
    }
}
