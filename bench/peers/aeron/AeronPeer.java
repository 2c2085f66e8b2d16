import io.aeron.Aeron;
import io.aeron.ExclusivePublication;
import io.aeron.Subscription;
import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import io.aeron.logbuffer.BufferClaim;
import io.aeron.logbuffer.FragmentHandler;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.agrona.concurrent.BackoffIdleStrategy;
import org.agrona.concurrent.UnsafeBuffer;

/**
 * The bench's peer for Aeron over IPC. The media driver runs inside the sender's process, as one
 * thread that steps back when it has nothing to do: there are only two CPUs. The subscriber polls
 * without a pause; the publisher claims room in the log, writes in place, and yields when there is
 * none. Both run some values before they say ready, so that the code is compiled by then.
 */
public final class AeronPeer {
    private static final int WARM_VALUES = 50_000;
    private static final int WARM_ROUNDS = 20_000;
    private static final int FRAGMENTS = 256;

    /** A value that is not the next one fails the whole run. */
    private static final class Wrong extends RuntimeException {
        Wrong(final String what) {
            super(what);
        }
    }

    private final Map<String, String> args = new HashMap<>();
    private final String row;
    private final boolean sends;
    private final int size;
    private final int every;
    private final UnsafeBuffer out;
    private final UnsafeBuffer in;
    private final BufferClaim claim = new BufferClaim();
    private final FragmentHandler handler = (buffer, offset, length, header) -> take(buffer, offset);
    private ExclusivePublication publication;
    private Subscription subscription;
    private long next; // the number of the value that is to come
    private long[] lat = new long[0];
    private int lats;

    private AeronPeer(final String[] words) {
        for (int i = 0; i + 1 < words.length; i += 2) {
            args.put(words[i].substring(1), words[i + 1]);
        }
        row = args.get("row");
        sends = "send".equals(args.get("role"));
        size = Integer.parseInt(args.get("size"));
        every = Math.max(1, Integer.parseInt(args.get("every")));
        out = new UnsafeBuffer(ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN));
        in = new UnsafeBuffer(ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN));
    }

    public static void main(final String[] words) throws IOException {
        new AeronPeer(words).serve();
    }

    private void serve() throws IOException {
        final boolean twoWay = "pingpong".equals(row);
        if (!twoWay && !"oneway".equals(row) && !"inplace".equals(row)) {
            throw new IllegalArgumentException("cannot do the row " + row);
        }
        final String dir = args.get("dir") + "/aeron";
        final MediaDriver driver = sends ? driver(dir) : null;
        final Aeron aeron = Aeron.connect(new Aeron.Context().aeronDirectoryName(dir));
        final String channel = "aeron:ipc?term-length=4m";
        final int there = 1;
        final int back = 2;
        if (sends || twoWay) {
            publication = aeron.addExclusivePublication(channel, sends ? there : back);
        }
        if (!sends || twoWay) {
            subscription = aeron.addSubscription(channel, sends ? back : there);
        }
        while (publication != null && !publication.isConnected()) {
            Thread.yield();
        }
        work(twoWay ? WARM_ROUNDS : WARM_VALUES, false);

        final BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        if (input.readLine() == null) {
            throw new IllegalStateException("the runner is gone");
        }
        final long count = Long.parseLong(args.get("count"));
        if (twoWay && sends) {
            lat = new long[(int) (count / every) + 1];
        }
        final long burned = cpuTime();
        final long start = System.nanoTime(); // CLOCK_MONOTONIC on Linux
        try {
            work(count, true);
        } catch (final Wrong w) {
            System.out.println("{\"wrong\":\"" + w.getMessage() + "\"}");
            System.exit(1);
        }
        final long end = System.nanoTime();
        answer(start, end, cpuTime() - burned, count);
        input.readLine(); // What is still on its way would be lost with the driver.
        aeron.close();
        if (driver != null) {
            driver.close();
        }
    }

    private static MediaDriver driver(final String dir) {
        return MediaDriver.launch(new MediaDriver.Context()
            .aeronDirectoryName(dir)
            .dirDeleteOnStart(true)
            .threadingMode(ThreadingMode.SHARED)
            .sharedIdleStrategy(new BackoffIdleStrategy())
            .termBufferSparseFile(false));
    }

    private void work(final long count, final boolean measured) {
        next = 0;
        if (!"pingpong".equals(row)) {
            if (sends) {
                for (long seq = 0; seq < count; seq++) {
                    send(seq);
                }
            } else {
                receiveUntil(count);
            }
            return;
        }
        int left = every;
        for (long seq = 0; seq < count; seq++) {
            if (!sends) {
                receiveUntil(seq + 1);
                send(seq);
                continue;
            }
            final long began = System.nanoTime();
            send(seq);
            receiveUntil(seq + 1);
            if (measured && --left == 0) {
                lat[lats++] = System.nanoTime() - began;
                left = every;
            }
        }
    }

    private void send(final long seq) {
        out.putLong(0, seq, ByteOrder.LITTLE_ENDIAN);
        out.putLong(size - 8, seq, ByteOrder.LITTLE_ENDIAN);
        while (true) {
            final long position = publication.tryClaim(size, claim);
            if (position > 0) {
                claim.buffer().putBytes(claim.offset(), out, 0, size);
                claim.commit();
                return;
            }
            if (position == ExclusivePublication.CLOSED || position == ExclusivePublication.MAX_POSITION_EXCEEDED) {
                throw new IllegalStateException("publication: " + position);
            }
            Thread.yield(); // The driver has to run for there to be room.
        }
    }

    private void receiveUntil(final long count) {
        while (next < count) {
            if (subscription.poll(handler, (int) Math.min(FRAGMENTS, count - next)) == 0) {
                Thread.onSpinWait();
            }
        }
    }

    private void take(final org.agrona.DirectBuffer buffer, final int offset) {
        in.putBytes(0, buffer, offset, size);
        final long first = in.getLong(0, ByteOrder.LITTLE_ENDIAN);
        final long last = in.getLong(size - 8, ByteOrder.LITTLE_ENDIAN);
        if (first != next || last != next) {
            throw new Wrong("value " + first + ".." + last + " where " + next + " was next");
        }
        next++;
    }

    /** What all threads have run, in nanoseconds. */
    private static long cpuTime() throws IOException {
        long sum = 0;
        try (DirectoryStream<Path> threads = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
            for (final Path thread : threads) {
                try {
                    sum += Long.parseLong(Files.readString(thread.resolve("schedstat")).split(" ")[0]);
                } catch (final IOException gone) {
                    continue; // A thread that has just ended.
                }
            }
        }
        return sum;
    }

    private void answer(final long start, final long end, final long cpu, final long count) {
        final StringBuilder b = new StringBuilder();
        b.append("{\"start\":").append(start).append(",\"end\":").append(end);
        b.append(",\"cpu\":").append(cpu).append(",\"count\":").append(count).append(",\"lat\":[");
        for (int i = 0; i < lats; i++) {
            b.append(i == 0 ? "" : ",").append(lat[i]);
        }
        System.out.println(b.append("]}"));
    }
}
