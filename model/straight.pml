/* The single roles' way straight to their slots, as straight.go has it: a value is published and a slot
 * freed by plain stores, which lie in a buffer of their processor until they reach memory, in their order,
 * while later loads go past them. Who goes to sleep and who seals makes a fence for all.
 *
 * A single sender in one process; in another a single receiver, or with MANY two goroutines that
 * receive with a CAS. What is a read-modify-write in the code is a step here that waits until the
 * buffer of its processor is empty. Nobody loads what lies in his own buffer, but for the sender the word of the
 * slot that he has just published, where old and new are both not his to take.
 *
 * ring.pml with STRAIGHT has the same way among holes, give-backs and recoveries, without buffers.
 */

#ifndef N
#define N 2 /* slots, and the capacity */
#endif
#ifndef VALUES
#define VALUES 3
#endif
/* CLOSE: Close comes after the last Send; EARLYCLOSE: at any time; without: the receivers stop after the last value.
 * SLOW: the sender goes the long way, with its CAS, whenever it likes.
 * KILL: the sender dies, at any time.
 * BATCH: SendBatch and RecvBatch too: values go out, or slots come free, one after the other; the window stays open, and who waits is
 * woken after the last. A batch may be of one.
 * FUNC: SendFunc too, which may fail while the window is open.
 * ONCE: with MANY, each receives one value and stops. */
#ifdef MANY
#define G 2 /* goroutines that receive */
#else
#define G 1
#endif
#if defined(CLOSE) || defined(EARLYCLOSE)
#define ENOUGH false
#else
#define ENOUGH (taken == VALUES)
#endif
#ifdef ONCE
#define GOON break
#else
#define GOON skip
#endif

#define FREE(p) (3*(p))
#define FULL(p) (3*(p)+1)
#define SEALED(p) (3*(p)+2)
#define SLOT(p) word[(p)%N]
#define MUST(property, holds) assert(property || (holds))

/* Memory. */
byte word[N], val[N];
bit window, closed, flags, flagr; /* flags: senders wait; flagr: receivers */

/* Who waits: doorbells, the queue of receivers and the wakes for them. */
#define ONE 1
#define ALL 2
bit bells;
byte bellr;
bit queued[G], chosen[G], woke[G];

/* What only the model knows. */
byte taken; /* values, from the slots in their order: the next position to take */
byte ended;
bit sended, kill, dead;
hidden byte drained, whole; /* properties, see MUST */
hidden byte a, v, j;

/* Stores on their way. */
#define WINDOW 0
#define WORD 1
#define VAL (1+N)
chan sbuf = [4] of { byte, byte };
chan rbuf = [2] of { byte, byte };

proctype memory() {
end:
	do
	:: d_step { sbuf?a,v ->
		if
		:: a == WINDOW -> window = v
		:: a >= VAL -> val[a-VAL] = v
		:: else ->
			MUST(drained, word[a-WORD] == v-1); /* not over a seal */
			word[a-WORD] = v
		fi;
		a = 0; v = 0 }
	:: d_step { rbuf?a,v -> word[a-WORD] = v; a = 0; v = 0 }
	od
}

/* A fence for all: each buffer is empty at some time during the call. */
inline fence() { empty(sbuf); empty(rbuf) }

inline wakesender(buffer) {
	if
	:: d_step { flags && empty(buffer) -> flags = 0; bells = 1 }
	:: !flags
	fi
}
inline wakereceiver(buffer, how) {
	if
	:: atomic { flagr && empty(buffer) -> flagr = 0; bellr = (bellr > how -> bellr : how) }
	:: !flagr
	fi
}

proctype sender() {
	byte p;
	bit shut;

	{
	do
	:: p == VALUES -> break
	:: p < VALUES ->
		if
		:: SLOT(p) == FREE(p) -> /* Send, straight */
#ifdef M_LATEWINDOW
			shut = closed; /* a mutant: looks before it says what it has in hand */
#endif
#ifndef M_NOWINDOW
			sbuf!WINDOW,1;
#endif
#ifndef M_LATEWINDOW
			shut = closed;
#endif
			if
			:: !shut ->
#ifdef M_EARLYSHUT
				sbuf!WINDOW,0; /* a mutant */
#endif
				sbuf!(VAL+p%N),(p+1);
				sbuf!(WORD+p%N),FULL(p);
				p++;
#ifdef BATCH
#ifdef M_BATCHSHUT
				sbuf!WINDOW,0; /* a mutant */
#endif
				do
				:: p < VALUES && SLOT(p) == FREE(p) ->
					sbuf!(VAL+p%N),(p+1);
					sbuf!(WORD+p%N),FULL(p);
					p++
				:: break
				od
#endif
#ifdef FUNC
			:: !shut -> /* it fails */
#ifdef M_FUNCNOWAKE
				sbuf!WINDOW,0;
				goto next /* a mutant: nobody waits for what was not sent */
#endif
#endif
			:: shut
			fi;
#ifndef M_NOWINDOW
			sbuf!WINDOW,0;
#endif
			if
			:: flagr -> wakereceiver(sbuf, ONE)
			:: !flagr
			fi;
			if
			:: shut -> break
			:: else
			fi;
next:			skip
#ifdef SLOW
		:: SLOT(p) == FREE(p) ->
			if
			:: atomic { SLOT(p) == FREE(p) && empty(sbuf) && !closed -> val[p%N] = p+1; SLOT(p) = FULL(p); p++ }
			:: closed -> break
			fi;
			wakereceiver(sbuf, ONE)
#endif
		:: SLOT(p) == SEALED(p) || closed -> break
		:: SLOT(p) != FREE(p) && SLOT(p) != SEALED(p) -> /* full: await */
			atomic { empty(sbuf) -> flags = 1 };
#ifndef M_NOFENCE_SENDER
			fence();
#endif
			if
			:: SLOT(p) == FREE(p) || SLOT(p) == SEALED(p) || closed -> atomic { flags = 0; bells = 0 }
			:: else -> atomic { bells -> bells = 0 }
			fi
		fi
	od
	} unless { kill };
	atomic { p = 0; shut = 0; sended = 1; dead = kill }
}

/* canRecv */
#define READY (SLOT(taken) == FULL(taken) || SLOT(taken) == SEALED(taken) || closed && !window)

proctype receiver(byte g) {
	byte p;
	bit woken;

	do
	:: ENOUGH -> break
	:: else ->
		p = taken;
		if
#ifdef MANY
		:: d_step { SLOT(p) == FULL(p) && p == taken -> MUST(whole, val[p%N] == p+1); taken++; SLOT(p) = FREE(p+N) };
#else
		:: SLOT(p) == FULL(p) -> MUST(whole, val[p%N] == p+1);
			d_step { nfull(rbuf) -> taken++; rbuf!(WORD+p%N),FREE(p+N) };
#ifdef BATCH
			do
			:: SLOT(taken) == FULL(taken) -> MUST(whole, val[taken%N] == taken+1);
				d_step { nfull(rbuf) -> p = taken; taken++; rbuf!(WORD+p%N),FREE(p+N) }
			:: break
			od;
#endif
#endif
			if
			:: flags -> wakesender(rbuf)
			:: !flags
			fi;
			/* passOn */
			if
			:: woken && READY -> wakereceiver(rbuf, ONE)
			:: else
			fi;
			woken = 0; GOON
		:: p != taken
		:: SLOT(p) == SEALED(p) -> break
		:: SLOT(p) == FREE(p) && closed ->
#ifndef M_NOFENCE_SEALER
			fence();
#endif
			if
			:: window -> goto park
			:: !window
			fi;
			if
			:: d_step { SLOT(p) == FREE(p) && empty(rbuf) -> SLOT(p) = SEALED(p) };
				break
			:: SLOT(p) != FREE(p)
			fi
		:: SLOT(p) == FREE(p) && !closed ->
park:			skip; /* enqueue */
			d_step { empty(rbuf) -> queued[g] = 1; flagr = 1 };
#ifndef M_NOFENCE_RECEIVER
			fence();
#endif
			if
			:: READY || ENOUGH
			:: else -> woke[g] || ENOUGH /* the end of its context */
			fi;
			/* dequeue */
			if
			:: d_step { queued[g] ->
				queued[g] = 0;
				if
#ifdef MANY
				:: queued[1-g]
#endif
				:: else -> woken = woken || !flagr; flagr = 0 /* a wake is on its way */
				fi }
			:: d_step { woke[g] -> woke[g] = 0; woken = 1 }
			fi
		fi
	od;
	/* sawSealed: wakeAll. The rest is for who stops with a wake. */
	if
	:: SLOT(p) == SEALED(p) -> wakereceiver(rbuf, ALL)
	:: SLOT(p) != SEALED(p)
	fi;
	d_step { p = 0; woken = 0; ended++ }
}

/* The listener of the receiving process: wakeLocal. */
proctype listener() {
	byte k;

end:	do
	:: d_step { bellr ->
		k = bellr; bellr = 0; j = 0;
		do
		:: j < G && queued[j] -> queued[j] = 0; chosen[j] = 1; j = (k == ALL -> j+1 : G)
		:: j < G && !queued[j] -> j++
		:: j == G -> break
		od;
		j = 0; k = 0;
		/* The flag before the wake, so that it is right when they look. */
#ifdef MANY
		flagr = queued[0] || queued[1]
#else
		flagr = queued[0]
#endif
		};
#ifndef M_NOFENCE_LISTENER
		if
		:: flagr -> fence()
		:: !flagr
		fi;
#endif
		d_step { j = 0;
		do
		:: j < G && chosen[j] -> chosen[j] = 0; woke[j] = 1; j++
		:: j < G && !chosen[j] -> j++
		:: j == G -> break
		od;
		j = 0 }
	od
}

proctype closer() {
	skip;
#ifdef CLOSE
	sended;
#endif
#if defined(CLOSE) || defined(EARLYCLOSE)
	closed = 1;
	if
	:: d_step { flagr -> flagr = 0; bellr = ALL }
	:: !flagr
	fi;
	if
	:: d_step { flags -> flags = 0; bells = 1 }
	:: !flags
	fi
#endif
}

/* The sender's death, and who recovers from it: what he had in his buffer is in memory by then. */
proctype killer() {
	skip;
#ifdef KILL
	if
	:: atomic { !sended -> kill = 1 };
		dead && empty(sbuf);
#ifndef M_DEADWINDOW
		window = 0;
#endif
		if
		:: closed -> wakereceiver(rbuf, ALL)
		:: !closed -> wakereceiver(rbuf, ONE)
		fi
	:: sended
	fi
#endif
}

init {
	atomic {
		j = 0;
		do
		:: j < N -> word[j] = FREE(j); j++
		:: else -> break
		od;
		j = 0;
		run memory(); run sender(); run receiver(0);
#ifdef MANY
		run receiver(1);
#endif
		run listener(); run closer(); run killer()
	}
}
