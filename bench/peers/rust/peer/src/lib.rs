//! What a peer in Rust needs of the bench's contract: arguments, ready and go, the rows'
//! loops, the answer. bench/README.md describes the contract.

use std::io::Write;
use std::time::Duration;

#[derive(Clone, Default)]
pub struct Args {
    pub row: String,
    pub mode: String,
    pub role: String,
    pub wait: String,
    pub dir: String,
    pub id: String,
    pub size: usize,
    pub cap: usize,
    pub count: u64,
    pub every: u64,
    pub batch: usize,
    pub idle: u64,
    pub senders: usize,
    pub receivers: usize,
    pub index: u64,
}

impl Args {
    pub fn parse() -> Args {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let mut a = Args::default();
        for pair in words.chunks(2) {
            let [name, v] = pair else { panic!("arguments come in pairs") };
            let n = || v.parse::<u64>().expect("a number");
            match name.as_str() {
                "-row" => a.row = v.clone(),
                "-mode" => a.mode = v.clone(),
                "-role" => a.role = v.clone(),
                "-wait" => a.wait = v.clone(),
                "-dir" => a.dir = v.clone(),
                "-id" => a.id = v.clone(),
                "-size" => a.size = n() as usize,
                "-cap" => a.cap = n() as usize,
                "-count" => a.count = n(),
                "-every" => a.every = n().max(1),
                "-batch" => a.batch = n() as usize,
                "-idle" => a.idle = n(),
                "-senders" => a.senders = n() as usize,
                "-receivers" => a.receivers = n() as usize,
                "-index" => a.index = n(),
                "-gap" => {}
                _ => panic!("unknown argument {name}"),
            }
        }
        a
    }
}

/// CLOCK_MONOTONIC, which all processes share, in nanoseconds.
pub fn now() -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as i64 * 1_000_000_000 + t.tv_nsec as i64
}

fn cpu_time() -> i64 {
    let mut u: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut u) };
    (u.ru_utime.tv_sec + u.ru_stime.tv_sec) as i64 * 1_000_000_000
        + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) as i64 * 1000
}

/// A value that is not the next one fails the whole run.
#[cold]
pub fn wrong(first: u64, last: u64, want: u64) -> ! {
    println!("{{\"wrong\":\"value {first:#x}..{last:#x} where {want:#x} was next\"}}");
    std::process::exit(1);
}

const PILL: u64 = (1 << 48) - 1;

#[inline(always)]
pub fn mark<const W: usize>(v: &mut [u64; W], from: u64, seq: u64) {
    v[0] = from << 48 | seq;
    v[W - 1] = v[0];
}

#[inline(always)]
pub fn check<const W: usize>(v: &[u64; W], seq: u64) {
    if v[0] != seq || v[W - 1] != seq {
        wrong(v[0], v[W - 1], seq);
    }
}

/// A side of a transport: it sends there and receives from the other side.
pub trait End<const W: usize> {
    fn send(&mut self, v: &[u64; W]);
    fn recv(&mut self, v: &mut [u64; W]);
    /// All of them.
    fn send_some(&mut self, _: &[[u64; W]]) {
        panic!("cannot send batches");
    }
    /// At least one; says how many.
    fn recv_some(&mut self, _: &mut [[u64; W]]) -> usize {
        panic!("cannot receive batches");
    }
    fn send_in_place(&mut self, _: &[u64; W]) {
        panic!("cannot build in place");
    }
    fn recv_in_place(&mut self, _: &mut [u64; W]) {
        panic!("cannot read in place");
    }
}

#[derive(Default)]
pub struct Tally {
    lat: Vec<i64>,
    got: Vec<[u64; 2]>,
    count: u64,
}

/// What one side does in the row.
pub fn work<const W: usize, E: End<W>>(a: &Args, e: &mut E) -> Tally {
    let sends = a.role == "send";
    let mut t = Tally { count: a.count, ..Tally::default() };
    let mut v = [0u64; W];
    match (a.row.as_str(), sends) {
        ("oneway", true) => {
            for seq in 0..a.count {
                mark(&mut v, 0, seq);
                e.send(&v);
            }
        }
        ("oneway", false) => {
            for seq in 0..a.count {
                e.recv(&mut v);
                check(&v, seq);
            }
        }
        ("inplace", true) => {
            for seq in 0..a.count {
                mark(&mut v, 0, seq);
                e.send_in_place(&v);
            }
        }
        ("inplace", false) => {
            for seq in 0..a.count {
                e.recv_in_place(&mut v);
                check(&v, seq);
            }
        }
        ("batch", true) => {
            let mut some = vec![v; a.batch];
            let mut seq = 0;
            while seq < a.count {
                let n = a.batch.min((a.count - seq) as usize);
                for v in &mut some[..n] {
                    mark(v, 0, seq);
                    seq += 1;
                }
                e.send_some(&some[..n]);
            }
        }
        ("batch", false) => {
            let mut some = vec![v; a.batch];
            let mut seq = 0;
            while seq < a.count {
                let room = a.batch.min((a.count - seq) as usize);
                let n = e.recv_some(&mut some[..room]);
                for v in &some[..n] {
                    check(v, seq);
                    seq += 1;
                }
            }
        }
        ("pingpong", true) => {
            t.lat.reserve((a.count / a.every) as usize + 1);
            let mut left = a.every;
            for seq in 0..a.count {
                left -= 1;
                let began = if left == 0 { now() } else { 0 };
                mark(&mut v, 0, seq);
                e.send(&v);
                e.recv(&mut v);
                check(&v, seq);
                if left == 0 {
                    t.lat.push(now() - began);
                    left = a.every;
                }
            }
        }
        ("pingpong", false) => {
            for seq in 0..a.count {
                e.recv(&mut v);
                check(&v, seq);
                e.send(&v);
            }
        }
        ("many", true) => {
            for seq in 0..a.count {
                mark(&mut v, a.index, seq);
                e.send(&v);
            }
            for _ in 0..a.receivers {
                mark(&mut v, a.index, PILL);
                e.send(&v);
            }
        }
        ("many", false) => {
            t.count = 0;
            t.got = vec![[0; 2]; a.senders];
            let mut next = vec![0; a.senders];
            let mut pills = 0;
            while pills < a.senders {
                e.recv(&mut v);
                let (from, seq) = ((v[0] >> 48) as usize, v[0] & PILL);
                if v[W - 1] != v[0] || from >= a.senders {
                    wrong(v[0], v[W - 1], 0);
                }
                if seq == PILL {
                    pills += 1;
                    continue;
                }
                if seq < next[from] {
                    wrong(v[0], v[W - 1], next[from]);
                }
                next[from] = seq + 1;
                t.got[from][0] += 1;
                t.got[from][1] += seq;
                t.count += 1;
            }
        }
        ("idle", true) => {
            std::thread::sleep(Duration::from_nanos(a.idle));
            mark(&mut v, 0, 0);
            e.send(&v);
        }
        ("idle", false) => {
            t.count = 1;
            e.recv(&mut v);
            check(&v, 0);
        }
        _ => panic!("cannot do the row {} as {}", a.row, a.role),
    }
    t
}

/// Says ready, waits for go, does the work, answers, and stays until it may go: what is
/// still on its way might be lost with the process.
pub fn serve(work: impl FnOnce() -> Vec<Tally>) {
    println!("ready");
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
        panic!("the runner is gone");
    }
    let (start, burned) = (now(), cpu_time());
    let tallies = work();
    let (end, burned) = (now(), cpu_time() - burned);
    let mut lat: Vec<String> = Vec::new();
    let mut got: Vec<[u64; 2]> = Vec::new();
    let mut count = 0;
    let shared = tallies.iter().any(|t| !t.got.is_empty());
    for t in &tallies {
        lat.extend(t.lat.iter().map(|l| l.to_string()));
        got.resize(got.len().max(t.got.len()), [0; 2]);
        for (sum, g) in got.iter_mut().zip(&t.got) {
            sum[0] += g[0];
            sum[1] += g[1];
        }
        if shared && !t.got.is_empty() {
            count += t.count;
        } else if !shared {
            count = t.count;
        }
    }
    let got: Vec<String> = got.iter().map(|g| format!("[{},{}]", g[0], g[1])).collect();
    println!(
        "{{\"start\":{start},\"end\":{end},\"cpu\":{burned},\"count\":{count},\"lat\":[{}],\"got\":[{}]}}",
        lat.join(","),
        got.join(",")
    );
    let _ = std::io::stdout().flush();
    line.clear();
    let _ = std::io::stdin().read_line(&mut line);
}

/// All sides as threads of this process: the senders on its first CPU, the receivers on
/// its second. The ends are those of the senders, then those of the receivers.
pub fn within<const W: usize, E: End<W> + Send>(a: &Args, ends: Vec<E>) {
    let mut all: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut all) };
    let cpus: Vec<usize> =
        (0..libc::CPU_SETSIZE as usize).filter(|c| unsafe { libc::CPU_ISSET(*c, &all) }).collect();
    serve(|| {
        std::thread::scope(|s| {
            let threads: Vec<_> = ends
                .into_iter()
                .enumerate()
                .map(|(i, mut e)| {
                    let mut b = a.clone();
                    let sends = i < a.senders;
                    b.role = if sends { "send" } else { "recv" }.into();
                    b.index = i as u64;
                    let cpu = if sends { cpus[0] } else { cpus[cpus.len() - 1] };
                    s.spawn(move || {
                        unsafe {
                            let mut one: libc::cpu_set_t = std::mem::zeroed();
                            libc::CPU_SET(cpu, &mut one);
                            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one);
                        }
                        work(&b, &mut e)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("a side failed")).collect()
        })
    });
}
