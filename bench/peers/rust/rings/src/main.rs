//! The bench's peer for crossbeam-channel (mode crossbeam) and rtrb (mode rtrb), in one
//! process.
//!
//! crossbeam in the rows spin and oneway looks again and again, which its documentation
//! has try_recv for; else it waits in recv, which spins a little and parks.

use crossbeam_channel::{bounded, Receiver, Sender, TryRecvError, TrySendError};
use peer::{within, Args, End};
use std::hint::spin_loop;

struct Crossbeam<const W: usize> {
    out: Sender<[u64; W]>,
    back: Receiver<[u64; W]>,
    spin: bool,
}

impl<const W: usize> End<W> for Crossbeam<W> {
    fn send(&mut self, v: &[u64; W]) {
        if !self.spin {
            self.out.send(*v).expect("nobody receives");
            return;
        }
        while let Err(e) = self.out.try_send(*v) {
            assert!(matches!(e, TrySendError::Full(_)), "nobody receives");
            spin_loop();
        }
    }

    fn recv(&mut self, v: &mut [u64; W]) {
        if !self.spin {
            *v = self.back.recv().expect("nobody sends");
            return;
        }
        loop {
            match self.back.try_recv() {
                Ok(got) => {
                    *v = got;
                    return;
                }
                Err(e) => assert!(e == TryRecvError::Empty, "nobody sends"),
            }
            spin_loop();
        }
    }
}

struct Rtrb<const W: usize> {
    out: Option<rtrb::Producer<[u64; W]>>,
    back: Option<rtrb::Consumer<[u64; W]>>,
}

impl<const W: usize> End<W> for Rtrb<W> {
    #[inline(always)]
    fn send(&mut self, v: &[u64; W]) {
        let q = self.out.as_mut().expect("a producer");
        while q.push(*v).is_err() {
            spin_loop();
        }
    }

    #[inline(always)]
    fn recv(&mut self, v: &mut [u64; W]) {
        let q = self.back.as_mut().expect("a consumer");
        loop {
            if let Ok(got) = q.pop() {
                *v = got;
                return;
            }
            spin_loop();
        }
    }

    fn send_some(&mut self, mut vs: &[[u64; W]]) {
        let q = self.out.as_mut().expect("a producer");
        while !vs.is_empty() {
            vs = q.push_partial_slice(vs).1;
        }
    }

    fn recv_some(&mut self, vs: &mut [[u64; W]]) -> usize {
        let q = self.back.as_mut().expect("a consumer");
        loop {
            let n = q.pop_partial_slice(vs).0.len();
            if n > 0 {
                return n;
            }
        }
    }
}

fn run<const W: usize>(a: &Args) {
    if a.mode == "rtrb" {
        let (p, c) = rtrb::RingBuffer::<[u64; W]>::new(a.cap);
        let (q, d) = rtrb::RingBuffer::<[u64; W]>::new(a.cap);
        let left = Rtrb { out: Some(p), back: Some(d) };
        within(a, vec![left, Rtrb { out: Some(q), back: Some(c) }]);
        return;
    }
    let (out, there) = bounded::<[u64; W]>(a.cap);
    let (other, back) = bounded::<[u64; W]>(a.cap);
    let spin = a.row == "oneway" || a.wait == "spin";
    let mut ends = Vec::new();
    for _ in 0..a.senders {
        ends.push(Crossbeam { out: out.clone(), back: back.clone(), spin });
    }
    for _ in 0..a.receivers {
        ends.push(Crossbeam { out: other.clone(), back: there.clone(), spin });
    }
    within(a, ends);
}

fn main() {
    let a = Args::parse();
    match a.size {
        8 => run::<1>(&a),
        64 => run::<8>(&a),
        1024 => run::<128>(&a),
        _ => panic!("no values of {} bytes", a.size),
    }
}
