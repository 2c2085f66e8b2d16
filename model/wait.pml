/* Parking and waking, as wait.go and handle.go have it, for a channel with capacity.
 *
 * The ring is only counted here: a look at it, a claim, a publish and a free are a step
 * each, which ring.pml shows to be so in effect. What is looked at, waited for and woken, in
 * which order, is step by step as in the code. There is no spinning and no backstop. At
 * the end nobody may be parked who could go on.
 */

/* SENDERS0, SENDERS1, SENDERS2 and RECEIVERS0, ... are the goroutines of each handle;
 * VALUES how many values each sender sends.
 * TAKES: a receiver ends after so many, 0 for never.
 * CLOSE: handle 0 closes the channel, at any time.
 * CANCELS, ABORTS, BACKS, CRASHES: at most so many.
 * POLLERS: handles, as bits, whose descriptor for PD somebody polls, who then makes Try calls until one
 * finds nothing; with LAZY he arms it and never looks. LOOKS: so many find nothing at most. */
#ifndef C
#define C 1
#endif
#ifndef VALUES
#define VALUES 1
#endif
#ifndef SENDERS0
#define SENDERS0 0
#endif
#ifndef SENDERS1
#define SENDERS1 0
#endif
#ifndef SENDERS2
#define SENDERS2 0
#endif
#ifndef RECEIVERS0
#define RECEIVERS0 0
#endif
#ifndef RECEIVERS1
#define RECEIVERS1 0
#endif
#ifndef RECEIVERS2
#define RECEIVERS2 0
#endif
#ifndef TAKES
#define TAKES 0
#endif
#ifndef ABORTS
#define ABORTS 0
#endif
#ifndef BACKS
#define BACKS 0
#endif

#ifndef HANDLES
#define HANDLES 2
#endif
#ifndef PD
#define PD RECEIVING
#endif

/* The ring, counted: FULL slots, and those that each handle writes and reads. */
byte filled, writing[HANDLES], reading[HANDLES];
bit closed, sealed;
byte aborts, backs;

#if HANDLES == 2
#define SUM(a) (a[0]+a[1])
#else
#define SUM(a) (a[0]+a[1]+a[2])
#endif
#define INHAND (SUM(writing)+SUM(reading))
#define SPACE (filled+INHAND < C)

#include "wake.inc"

hidden byte woken, stuck, polled, rest; /* properties, see MUST */

#define S_BEGIN 1
#define S_CLAIM 2
#define S_MAYWAIT 3
#define PARKED 4
#define ENQUEUE 5
#define READY1 6
#define READY2 7
#define DEQUEUE 8
#define SWALLOWED 9
#define CANCELLED 10
#define PASSON 11
#define PASSON1 12
#define PASSON2 13
#define S_PUBLISH 14
#define S_ABORTED 15
#define NEXT 16
#define S_LATE 17
#define R_CLAIM 21
#define R_CLOSED 22
#define R_SEAL 23
#define R_USE 24
#define R_FREED 25
#define ENQUEUE2 26
#define ENDED 30
#define ENDNOW 31

#define CLAIM (d == SENDING -> S_CLAIM : R_CLAIM)
/* passOn, then on to a */
#define PASSTO(a) after = a; pc = PASSON

proctype goroutine(byte h; byte g; bit d) {
	byte pc, i, after;
	bit spent; /* a wake was spent on this call */
	bit failed; /* the call ends with an error */
	WAKEVARS;

	d_step { pc = (d == SENDING -> S_BEGIN : R_CLAIM) }
end:	do
	/* sendBegin */
	STEP(S_BEGIN, pc = (closed -> ENDED : S_CLAIM))
	STEP(S_CLAIM,
		if
		:: sealed -> PASSTO(ENDED)
		:: !sealed && SPACE -> writing[h]++; PASSTO(S_PUBLISH)
		:: else -> pc = S_MAYWAIT
		fi)
	STEP(S_MAYWAIT,
		if
		:: closed -> PASSTO(ENDED)
		:: else -> pc = ENQUEUE
		fi)
	/* passOn: !woken, or anyWaiting and readyFor, then wakeOne */
	STEP(PASSON,
		if
		:: !spent
#ifdef M_NORINGON_VALUES
			|| d == RECEIVING && !failed
#endif
#ifdef M_NORINGON_SPACE
			|| d == SENDING && !failed
#endif
#ifdef M_NORINGON_CANCEL
			|| failed
#endif
			-> pc = after; after = 0
		:: else ->
			if
			:: flags[d] != 0 -> pc = PASSON1
			:: else -> pc = after; after = 0
			fi
		fi; spent = 0; failed = 0)
	STEP(PASSON1,
		if
		:: d == SENDING && closed || d == RECEIVING && filled > 0 -> WAKEONE(d, after); after = 0
		:: d == RECEIVING && filled == 0 && INHAND > 0 -> pc = after; after = 0
		:: else -> pc = PASSON2
		fi)
	STEP(PASSON2,
		if
		:: d == SENDING && (SPACE || sealed) || d == RECEIVING && (closed || sealed) -> WAKEONE(d, after)
		:: else -> pc = after
		fi; after = 0)
#ifdef M_WAKEBEFORE
	/* a mutant: the wake before the publish */
	STEP(S_PUBLISH, WAKEONE(RECEIVING, S_LATE))
	STEP(S_LATE, writing[h]--; filled++; pc = NEXT)
#else
	/* sendEnd: publish, then wakeOne */
	STEP(S_PUBLISH, writing[h]--; filled++; WAKEONE(RECEIVING, NEXT))
#endif
	/* sendAbort: giveUp, then wakeOne; wakeAll if closed */
	:: d_step { pc == S_PUBLISH && aborts < ABORTS && LIVE(h) -> aborts++; writing[h]--;
#ifdef M_NOABORTWAKE
		pc = S_ABORTED
#else
		WAKEONE(SENDING, S_ABORTED)
#endif
		}
	STEP(S_ABORTED,
		if
		:: closed
#ifdef M_NOABORTCLOSED
			&& false
#endif
			-> WAKEALL(NEXT)
		:: else -> pc = NEXT
		fi)

	/* claimRecv */
	STEP(R_CLAIM,
		if
		:: filled > 0 -> filled--; reading[h]++; PASSTO(R_USE)
		:: filled == 0 && sealed -> pc = ENDNOW
		:: filled == 0 && !sealed && INHAND > 0 -> pc = ENQUEUE
		:: else -> pc = R_CLOSED
		fi)
	STEP(R_CLOSED, pc = (closed -> R_SEAL : ENQUEUE))
	STEP(R_SEAL,
		if
		:: filled+INHAND == 0 -> sealed = 1; pc = ENDNOW
		:: else -> pc = R_CLAIM
		fi)
	/* sawSealed: wakeAll */
	STEP(ENDNOW, spent = 0;
#ifdef M_NOSEALWAKE
		pc = ENDED
#else
		WAKEALL(ENDED)
#endif
		)
	/* recvEnd: free, wakeOne(sending), and wakeOne(receiving) if closed */
	STEP(R_USE, reading[h]--; WAKEONE(SENDING, R_FREED))
	STEP(R_FREED,
		if
		:: closed
#ifdef M_NOFREEWAKECLOSED
			&& false
#endif
			-> WAKEONE(RECEIVING, NEXT)
		:: else -> pc = NEXT
		fi)
	/* recvAbort: giveBack, then wakeOne(receiving) */
	:: d_step { pc == R_USE && backs < BACKS && LIVE(h) -> backs++; reading[h]--; filled++;
#ifdef M_NOBACKWAKE
		pc = NEXT
#else
		WAKEONE(RECEIVING, NEXT)
#endif
		}

	/* await: enqueue puts the goroutine in the queue and the flag up */
	:: d_step { pc == ENQUEUE && LIVE(h) && (mutex & BIT(h)) == 0 ->
		QUEUE(h, d) = QUEUE(h, d) | BIT(g);
#ifdef POLLERS
		if
		:: ARMED(h, d) ->
			mutex = mutex | BIT(h); pc = ENQUEUE2;
#ifdef M_LATEHINT
			SETFLAG(h, d)
#else
			hints = hints & ~BIT(h)
#endif
		:: else -> SETFLAG(h, d); pc = READY1
		fi
		}
	STEP(ENQUEUE2,
#ifdef M_LATEHINT
		hints = hints & ~BIT(h);
#else
		SETFLAG(h, d);
#endif
		mutex = mutex & ~BIT(h); pc = READY1
#else
		SETFLAG(h, d);
#ifdef M_NOLOOK
		pc = PARKED; atrest = atrest | BIT(g); parked[d] = parked[d] | BIT(g)
#else
		pc = READY1
#endif
#endif
#ifdef POLLERS
		)
#else
		}
#endif
	/* ready: canSend looks at closed, then at the slots; canRecv the other way round */
	STEP(READY1,
		if
		:: d == SENDING && closed || d == RECEIVING && filled > 0 -> pc = DEQUEUE
		:: d == RECEIVING && filled == 0 && INHAND > 0 -> pc = PARKED; atrest = atrest | BIT(g); parked[d] = parked[d] | BIT(g)
		:: else -> pc = READY2
		fi)
	STEP(READY2,
		if
		:: d == SENDING && (SPACE || sealed) || d == RECEIVING && (closed || sealed) -> pc = DEQUEUE
		:: else -> pc = PARKED; atrest = atrest | BIT(g); parked[d] = parked[d] | BIT(g)
		fi)
	/* dequeue, after a look or a cancel: the flag is taken down, and if it was down
	 * somebody's wake has been swallowed */
	:: d_step { (pc == DEQUEUE || pc == CANCELLED) && LIVE(h) && (mutex & BIT(h)) == 0 ->
		if
		:: QUEUE(h, d) & BIT(g) ->
			QUEUE(h, d) = QUEUE(h, d) & ~BIT(g);
			if
#ifdef POLLERS
			:: QUEUE(h, d) == 0 && ARMED(h, d) -> hints = hints | BIT(h)
#endif
			:: QUEUE(h, d) == 0 && !ARMED(h, d) ->
#ifndef M_NOSWALLOW
				spent = spent || !HASFLAG(h, d);
#endif
				CLEARFLAG(h, d)
			:: else
			fi;
			if
			:: pc == DEQUEUE -> pc = CLAIM
			:: else -> failed = 1; PASSTO(ENDED)
			fi
		:: else -> failed = (pc == CANCELLED); pc = SWALLOWED
		fi }
	:: d_step { pc == SWALLOWED && LIVE(h) && (token & BIT(g)) -> token = token & ~BIT(g);
#ifndef M_NOSWALLOW
		spent = 1;
#endif
		if
		:: failed -> PASSTO(ENDED)
		:: else -> pc = CLAIM
		fi }
	/* parked until woken or cancelled */
	:: d_step { pc == PARKED && LIVE(h) && (token & BIT(g)) ->
		token = token & ~BIT(g); spent = 1; atrest = atrest & ~BIT(g); parked[d] = parked[d] & ~BIT(g); pc = CLAIM }
	:: d_step { pc == PARKED && LIVE(h) && cancels < CANCELS ->
		cancels++; atrest = atrest & ~BIT(g); parked[d] = parked[d] & ~BIT(g); pc = CANCELLED }
	WAKESTEPS
	STEP(NEXT,
		if
#if TAKES
		:: d == RECEIVING -> i++; pc = (i == TAKES -> ENDED : R_CLAIM)
#else
		:: d == RECEIVING -> pc = R_CLAIM
#endif
		:: else -> i++; pc = (i == VALUES -> ENDED : S_BEGIN)
		fi)
	:: d_step { pc == ENDED && LIVE(h) -> atrest = atrest | BIT(g); spent = 0; failed = 0; pc = 0 }
	od
}

#ifdef POLLERS
byte resting; /* handles whose poller waits for the descriptor */
byte looks;

#define P_TRY 1
#define P_CLOSED 2
#define P_SEAL 3
#define P_DONE 4
#define P_DONE2 5
#define P_ARM 6
#define P_HINT 7
#define P_FLAG 8
#define P_LOOK1 9
#define P_LOOK2 10
#define P_UNARM 11
#define P_FIX 12
#define P_WAIT 13
#define P_PASS 14

#ifdef M_POLLPASSES
#define P_NOTHING P_PASS
#else
#define P_NOTHING P_ARM
#endif
#ifdef M_NOREARM
#define P_READY P_WAIT
#else
#define P_READY P_ARM
#endif
#ifdef LAZY
#define EAGER 0
#else
#define EAGER 1
#endif

/* One who polls the descriptor of handle h, and makes Try calls. */
proctype poller(byte h) {
	byte pc = P_ARM, i;
	bit once;
	WAKEVARS;

end:	do
	/* TryRecv, or TrySend */
	STEP(P_TRY,
		if
		:: PD == RECEIVING && filled > 0 -> filled--; reading[h]++; pc = P_DONE
		:: PD == RECEIVING && filled == 0 && sealed -> pc = 0
		:: PD == RECEIVING && filled == 0 && !sealed && INHAND > 0 -> pc = P_NOTHING
		:: PD == RECEIVING && filled == 0 && !sealed && INHAND == 0 -> pc = P_CLOSED
		:: PD == SENDING && (closed || sealed || i == VALUES) -> pc = 0
		:: PD == SENDING && !(closed || sealed || i == VALUES) && SPACE -> writing[h]++; i++; pc = P_DONE
		:: else -> pc = P_NOTHING
		fi)
	STEP(P_CLOSED, pc = (closed -> P_SEAL : P_NOTHING))
	STEP(P_SEAL,
		if
		:: filled+INHAND == 0 -> sealed = 1; WAKEALL(0)
		:: else -> pc = P_TRY
		fi)
	STEP(P_DONE,
		if
		:: PD == RECEIVING -> reading[h]--; WAKEONE(SENDING, P_DONE2)
		:: else -> writing[h]--; filled++; WAKEONE(RECEIVING, P_TRY)
		fi)
	STEP(P_DONE2,
		if
		:: closed -> WAKEONE(RECEIVING, P_TRY)
		:: else -> pc = P_TRY
		fi)
	/* a mutant: who finds nothing wakes another */
	STEP(P_PASS, WAKEONE(PD, P_ARM))
	/* arm: drained and armed, the hint, the flag */
	:: d_step { pc == P_ARM && LIVE(h) && (mutex & BIT(h)) == 0 ->
#ifdef LOOKS
		looks++; MUST(rest, looks <= LOOKS);
#endif
		if
		:: ARMED(h, PD) || P_READY == P_WAIT && once -> level = (ARMED(h, PD) -> level : level & ~BIT(h)); pc = P_WAIT; resting = resting | BIT(h)
		:: else -> once = 1; level = level & ~BIT(h); arm = arm | BIT(h); mutex = mutex | BIT(h); pc = P_HINT
		fi }
	STEP(P_HINT, hints = (QUEUE(h, PD) == 0 -> hints | BIT(h) : hints); pc = P_FLAG)
	STEP(P_FLAG, SETFLAG(h, PD); mutex = mutex & ~BIT(h);
#ifdef M_NOPOLLLOOK
		pc = P_WAIT; resting = resting | BIT(h)
#else
		pc = P_LOOK1
#endif
		)
	STEP(P_LOOK1,
		if
		:: PD == SENDING && closed || PD == RECEIVING && filled > 0 -> pc = P_UNARM
		:: PD == RECEIVING && filled == 0 && INHAND > 0 -> pc = P_WAIT; resting = resting | BIT(h)
		:: else -> pc = P_LOOK2
		fi)
	STEP(P_LOOK2,
		if
		:: PD == SENDING && (SPACE || sealed) || PD == RECEIVING && (closed || sealed) -> pc = P_UNARM
		:: else -> pc = P_WAIT; resting = resting | BIT(h)
		fi)
	/* raisePoll */
	:: d_step { pc == P_UNARM && LIVE(h) && (mutex & BIT(h)) == 0 ->
		if
		:: ARMED(h, PD) -> arm = arm & ~BIT(h); hints = hints & ~BIT(h); mutex = mutex | BIT(h); pc = P_FIX
		:: else -> pc = P_WAIT; resting = resting | BIT(h)
		fi }
	STEP(P_FIX,
		if
		:: QUEUE(h, PD) == 0 -> CLEARFLAG(h, PD)
		:: else -> SETFLAG(h, PD)
		fi; level = level | BIT(h); mutex = mutex & ~BIT(h); pc = P_WAIT; resting = resting | BIT(h))
	:: d_step { pc == P_WAIT && LIVE(h) && EAGER && (level & BIT(h)) -> resting = resting & ~BIT(h); pc = P_TRY }
	WAKESTEPS
	od
}
#endif

#ifdef CLOSE
/* Close: the flag, then wakeAll. By another goroutine of handle h. */
proctype closer(byte h) {
	byte pc = 1;
	WAKEVARS;

end:	do
	STEP(1, closed = 1;
#ifdef M_NOCLOSEWAKE
		pc = 0
#else
		WAKEALL(0)
#endif
		)
	WAKESTEPS
	od
}
#endif

#if CRASHES
byte marked, cleared; /* entries: peerDead, and unused again */

/* Some handle dies, before any step of its goroutines. */
proctype crasher() {
end:	do
	:: d_step { deaths < CRASHES && LIVE(0) -> deaths++; dead = dead | BIT(0) }
	:: d_step { deaths < CRASHES && LIVE(1) -> deaths++; dead = dead | BIT(1) }
#if HANDLES > 2
	:: d_step { deaths < CRASHES && LIVE(2) -> deaths++; dead = dead | BIT(2) }
#endif
	od
}

#ifdef M_NOLOOKAFTER
#define NOLOOK true
#else
#define NOLOOK false
#endif
#ifdef M_POLLNOTLOOKEDAFTER
#define ARMEDLOOK(h, d) 0
#else
#define ARMEDLOOK(h, d) ARMED(h, d)
#endif
#ifdef POLLERS
#define QUIET quiet = 1
#else
#define QUIET skip
#endif
#define X_IDLE 0
#define X_LOCK 1
#define X_FREED 2
#define X_REFILLED 3
#define X_WAKES 4
#define X_CLOSED 5
#define X_FLAGS 6
#define X_WAKE1 7
#define X_WAKE2 8
#define X_WAKE3 9
#define X_LOOK 10
#define X_HOLDERS 11
#define X_READY1 12
#define X_READY2 13
#define X_NEXT 14

/* peerDied: clearIfDead, which clears what nobody else does, then lookAfter. */
proctype watcher(byte h) {
	byte pc, told, who, freed, refilled;
	bit dd, holders, some;
	WAKEVARS;

end:	do
	:: d_step { pc == X_IDLE && LIVE(h) && (dead & ~told) != 0 ->
		who = 0;
		do
		:: (dead & ~told & BIT(who)) == 0 -> who++
		:: else -> break
		od;
		told = told | BIT(who); dd = RECEIVING; pc = X_LOCK }
	STEP(X_LOCK,
		if
		:: (marked | cleared) & BIT(who) -> pc = X_LOOK
		:: else -> marked = marked | BIT(who); pc = X_FREED
		fi)
	/* recoverTag and recoverAndWake */
	STEP(X_FREED, freed = writing[who]; writing[who] = 0; pc = X_REFILLED)
	STEP(X_REFILLED, refilled = reading[who]; reading[who] = 0; filled = filled+refilled; some = freed+refilled > 0; pc = X_WAKES)
	STEP(X_WAKES,
		if
		:: freed > 0 -> freed--; WAKEONE(SENDING, X_WAKES)
		:: freed == 0 && refilled > 0 -> refilled--; WAKEONE(RECEIVING, X_WAKES)
		:: else -> pc = (some -> X_CLOSED : (holders -> X_READY1 : X_FLAGS)); some = 0
		fi)
	STEP(X_CLOSED,
		if
		:: closed -> WAKEALL((holders -> X_READY1 : X_FLAGS))
		:: else -> pc = (holders -> X_READY1 : X_FLAGS)
		fi)
	/* clear goes on: flags down, unused, and the wakes that it may have died with */
	STEP(X_FLAGS, CLEARFLAG(who, SENDING); CLEARFLAG(who, RECEIVING); cleared = cleared | BIT(who);
#ifdef M_NOCLEARWAKE
		pc = X_LOOK
#else
		pc = X_WAKE1
#endif
		)
	STEP(X_WAKE1, WAKEONE(SENDING, X_WAKE2))
	STEP(X_WAKE2, WAKEONE(RECEIVING, X_WAKE3))
	STEP(X_WAKE3,
		if
		:: closed -> WAKEALL(X_LOOK)
		:: else -> pc = X_LOOK
		fi)
	/* lookAfter: the flag first, then checkHolders, then the look */
	:: d_step { pc == X_LOOK && LIVE(h) && (mutex & BIT(h)) == 0 -> holders = 0;
		if
		:: QUEUE(h, dd) == 0 && !ARMEDLOOK(h, dd) || NOLOOK -> pc = X_NEXT
		:: else -> SETFLAG(h, dd); pc = X_HOLDERS
		fi }
	STEP(X_HOLDERS,
		if
		:: writing[who]+reading[who] > 0 -> holders = 1; pc = X_FREED
		:: else -> pc = X_READY1
		fi)
	STEP(X_READY1,
		holders = 0;
		if
		:: dd == SENDING && closed || dd == RECEIVING && filled > 0 -> wd = dd; only = 1; QUIET; ret = X_NEXT; pc = K_LOCAL
		:: dd == RECEIVING && filled == 0 && INHAND > 0 -> pc = X_NEXT
		:: else -> pc = X_READY2
		fi)
	STEP(X_READY2,
		if
		:: dd == SENDING && (SPACE || sealed) || dd == RECEIVING && (closed || sealed) -> wd = dd; only = 1; QUIET; ret = X_NEXT; pc = K_LOCAL
		:: else -> pc = X_NEXT
		fi)
	STEP(X_NEXT,
		if
		:: dd == RECEIVING -> dd = SENDING; pc = X_LOOK
		:: else -> who = 0; pc = X_IDLE
		fi)
	WAKESTEPS
	od
}
#endif

/* When nobody can go on, everybody alive is parked or has ended, and rightly so. */
proctype final() {
	byte live;

	timeout;
	d_step {
		mi = 0;
		do
		:: mi < HANDLES ->
			if
			:: LIVE(mi) -> live = live | homes[mi]
			:: else
			fi;
			mi++
		:: else -> break
		od;
		MUST(stuck, (atrest & live) == live);
		MUST(woken, !((parked[RECEIVING] & live) && (filled > 0 || (closed || sealed) && INHAND == 0)));
		MUST(woken, !((parked[SENDING] & live) && (SPACE || closed || sealed)));
#ifdef POLLERS
		MUST(polled, PD == SENDING || !((resting & ~level & ~dead) && (filled > 0 || (closed || sealed) && INHAND == 0)));
		MUST(polled, PD == RECEIVING || !((resting & ~level & ~dead) && (SPACE || closed || sealed)))
#endif
	}
}

#define START(n, h, d) \
	k = 0; \
	do \
	:: k < n -> homes[h] = homes[h] | BIT(g); run goroutine(h, g, d); g++; k++ \
	:: else -> break \
	od

init {
	byte g, k;
	atomic {
		START(SENDERS0, 0, SENDING);
		START(RECEIVERS0, 0, RECEIVING);
		START(SENDERS1, 1, SENDING);
		START(RECEIVERS1, 1, RECEIVING);
		run listener(0);
		run listener(1);
#if HANDLES > 2
		START(SENDERS2, 2, SENDING);
		START(RECEIVERS2, 2, RECEIVING);
		run listener(2);
#endif
#if CRASHES
		run crasher();
		run watcher(0);
		run watcher(1);
#if HANDLES > 2
		run watcher(2);
#endif
#endif
#ifdef CLOSE
		run closer(0);
#endif
#ifdef POLLERS
		if :: (POLLERS) & 1 -> run poller(0) :: else fi;
		if :: (POLLERS) & 2 -> run poller(1) :: else fi;
#if HANDLES > 2
		if :: (POLLERS) & 4 -> run poller(2) :: else fi;
#endif
#endif
		run final();
		g = 0; k = 0
	}
}
