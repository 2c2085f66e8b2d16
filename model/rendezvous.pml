/* Capacity 0, as rendezvous.go and handle.go have it, with the waiting of wait.go.
 *
 * There is one slot, so a look is one load of its word: a hint that lags is jumped over
 * at once, and hints are left out. Each access to the word, to closed, to poster and to
 * the flags rv is a step, as are those of waking.
 */

/* SENDS0, SENDS1 and RECVS0, RECVS1, ... are goroutines of each handle that Send and Recv,
 * TRYSENDS0, ... those that use TrySend.
 * TURNS: how many values a sender sends, and how often a TrySend is tried.
 * TAKES: a receiver ends after so many, 0 for never.
 * CLOSE: handle 0 closes the channel, at any time.
 * CANCELS, BACKS, CRASHES: at most so many. */
#ifndef SENDS0
#define SENDS0 0
#endif
#ifndef SENDS1
#define SENDS1 0
#endif
#ifndef TRYSENDS0
#define TRYSENDS0 0
#endif
#ifndef TRYSENDS1
#define TRYSENDS1 0
#endif
#ifndef RECVS0
#define RECVS0 0
#endif
#ifndef RECVS1
#define RECVS1 0
#endif
#ifndef RECVS2
#define RECVS2 0
#endif
#ifndef TURNS
#define TURNS 1
#endif
#ifndef TAKES
#define TAKES 0
#endif
#ifndef BACKS
#define BACKS 0
#endif
#ifndef GOROUTINES
#define GOROUTINES 3
#endif

/* Posters lie in the same queue, in bits above those who wait for their turn. */
#define POSTERS (((1<<GOROUTINES)-1)<<GOROUTINES)
#include "wake.inc"

#define M 8
#define FREE 0
#define WRITING 1
#define FULL 2
#define READING 3
#define SEALED 4
#define WORD(p, t, s) (((p)<<5)|((t)<<3)|(s))
#define POS(w) ((w)>>5)
#define OWNER(w) (((w)>>3)&3)
#define STATE(w) ((w)&7)
#define NEXTPOS(p) (((p)+1)%M)

byte word = WORD(M-1, 0, FREE), val;
bit closed;
byte poster, rv[HANDLES], waiting[HANDLES]; /* waiting is rvCount */
byte backs;

/* What only the model knows: values received, values of a TrySend that was told they
 * were sent, values given back. */
byte got, trysent, again;
byte outcome; /* posters that are parked, and want their value back */
hidden byte woken, stuck, whole, once, drained, owned, received, cancelled, taken; /* properties, see MUST */
#define VALUE(g, i) (1+(g)*TURNS+(i))
#define BITOF(v) (1<<((v)-1))
hidden byte w;

#define READY(d, w) (d == SENDING -> closed || STATE(w) == FREE || STATE(w) == SEALED : 0)

#define BEGIN 1
#define LOOK 2
#define CLAIM 3
#define MAYWAIT 4
#define ENQUEUE 5
#define READY1 6
#define READY2 7
#define PARKED 8
#define DEQUEUE 9
#define CANCELLED 10
#define SWALLOWED 11
#define PASSON 12
#define PASSON1 13
#define PASSON2 14
#define WRITE 15
#define POSTER 16
#define PUBLISH 17
#define POST 18
#define WITHDRAW 19
#define WITHDRAWN 20
#define P_ENQUEUE 21
#define P_READY1 22
#define P_READY2 23
#define P_PARKED 24
#define P_DEQUEUE 25
#define P_SWALLOWED 26
#define SENT 27
#define FAILED 28
#define T_FIND 30
#define T_CLOSED 31
#define T_FIND2 32
#define T_RV 33
#define T_GAVEUP 34
#define T_SENT 35
#define R_CLOSED 41
#define R_SEAL 42
#define R_ENTER 43
#define R_LEAVE 44
#define R_READ 45
#define R_POSTER 46
#define R_FREE 47
#define R_FREED 48
#define R_FREED2 49
#define R_BACK 50
#define R_BACKED 51
#define R_GOING 52
#define R_SEALED 53
#define R_NEXT 54
#define ENDED 60

#define PASSTO(a) after = a; pc = PASSON
#define REST atrest = atrest | BIT(g)
#define UNREST atrest = atrest & ~BIT(g); outcome = outcome & ~BIT(g)
#define PQ BIT(g+GOROUTINES)

proctype goroutine(byte h; byte g; bit d; bit try) {
	byte pc, i, after, p, x, r, mine;
	bit spent; /* a wake was spent on this call */
	bit failed; /* the call is to end with an error: cancelled, or closed */
	bit waits; /* we are counted in rv */
	bit second; /* rvFind for the second time */
	WAKEVARS;

	d_step { pc = (d == RECEIVING -> LOOK : BEGIN) }
end:	do
	STEP(BEGIN, failed = 0; spent = 0;
		if
		:: closed -> pc = ENDED
		:: else -> pc = (try -> T_FIND : LOOK)
		fi)

	/* claimSend and claimRecv: a load of the word */
	STEP(LOOK, w = word; p = POS(w);
		if
		:: STATE(w) == SEALED -> pc = (d == SENDING -> FAILED : R_SEALED)
		:: d == SENDING && STATE(w) == FREE || d == RECEIVING && STATE(w) == FULL -> pc = CLAIM
		:: d == RECEIVING && STATE(w) == FREE -> pc = R_CLOSED
		:: else -> pc = (try -> FAILED : MAYWAIT)
		fi)
	STEP(CLAIM,
		if
		:: d == SENDING && word == WORD(p, 0, FREE) -> word = WORD(p, h, WRITING); mine = WORD(p, h, WRITING);
			if
			:: try -> pc = T_FIND2
			:: else -> PASSTO(WRITE)
			fi
		:: d == RECEIVING && word == WORD(p, 0, FULL) -> word = WORD(p, h, READING); mine = WORD(p, h, READING); PASSTO(R_LEAVE)
		:: else -> pc = LOOK
		fi)

	/* mayWait; a receiver is counted in rv when it was blocked, and looks again */
	STEP(MAYWAIT,
		if
		:: d == RECEIVING && !waits && !failed -> pc = R_ENTER
		:: d == RECEIVING && failed && waits -> pc = R_GOING
		:: d == RECEIVING && failed && !waits -> PASSTO(ENDED)
		:: d == SENDING && (closed || failed) -> failed = 1; PASSTO(FAILED)
		:: else -> pc = ENQUEUE
		fi)
	STEP(R_ENTER, waiting[h]++; rv[h] = 1; waits = 1; pc = LOOK)
	/* First say that we go, then look once more. */
	STEP(R_GOING, waiting[h]--; rv[h] = (waiting[h] > 0); waits = 0;
#ifdef M_NOLASTLOOK
		PASSTO(ENDED)
#else
		pc = LOOK
#endif
		)

	/* await for a turn */
	:: d_step { pc == ENQUEUE && LIVE(h) && (mutex & BIT(h)) == 0 ->
		QUEUE(h, d) = QUEUE(h, d) | BIT(g); SETFLAG(h, d); pc = READY1 }
	STEP(READY1, w = word;
		if
		:: d == SENDING -> pc = (closed || STATE(w) == FREE || STATE(w) == SEALED -> DEQUEUE : PARKED)
		:: d == RECEIVING && (STATE(w) == FULL || STATE(w) == SEALED) -> pc = DEQUEUE
		:: d == RECEIVING && STATE(w) == FREE -> pc = READY2
		:: else -> pc = PARKED
		fi;
		if
		:: pc == PARKED -> REST; parked[d] = parked[d] | BIT(g)
		:: else
		fi)
	STEP(READY2,
		if
		:: closed -> pc = DEQUEUE
		:: else -> pc = PARKED; REST; parked[d] = parked[d] | BIT(g)
		fi)
	:: d_step { pc == PARKED && LIVE(h) && (token & BIT(g)) -> token = token & ~BIT(g); spent = 1; UNREST; parked[d] = parked[d] & ~BIT(g); pc = LOOK }
	:: d_step { pc == PARKED && LIVE(h) && cancels < CANCELS -> cancels++; UNREST; parked[d] = parked[d] & ~BIT(g); pc = CANCELLED }
	:: d_step { (pc == DEQUEUE || pc == CANCELLED) && LIVE(h) && (mutex & BIT(h)) == 0 ->
		failed = (pc == CANCELLED);
		if
		:: QUEUE(h, d) & BIT(g) ->
			QUEUE(h, d) = QUEUE(h, d) & ~BIT(g);
			if
			:: QUEUE(h, d) == 0 -> spent = spent || !HASFLAG(h, d); CLEARFLAG(h, d)
			:: else
			fi;
			pc = (failed -> MAYWAIT : LOOK)
		:: else -> pc = SWALLOWED
		fi }
	:: d_step { pc == SWALLOWED && LIVE(h) && (token & BIT(g)) -> token = token & ~BIT(g); spent = 1; pc = (failed -> MAYWAIT : LOOK) }

	/* passOn */
	STEP(PASSON,
		if
		:: spent && flags[d] != 0 -> pc = PASSON1
		:: else -> pc = after; after = 0
		fi; spent = 0)
	STEP(PASSON1, w = word;
		if
		:: d == SENDING && (closed || STATE(w) == FREE || STATE(w) == SEALED) || d == RECEIVING && (STATE(w) == FULL || STATE(w) == SEALED) -> WAKEONE(d, after); after = 0
		:: d == RECEIVING && STATE(w) == FREE -> pc = PASSON2
		:: else -> pc = after; after = 0
		fi)
	STEP(PASSON2,
		if
		:: closed -> WAKEONE(d, after)
		:: else -> pc = after
		fi; after = 0)

	/* The value; post: whose it is, publish, wakeOne. */
	STEP(WRITE, MUST(owned, word == mine); val = VALUE(g, i); pc = POSTER)
	STEP(POSTER, poster = h; pc = PUBLISH)
	STEP(PUBLISH, MUST(owned, word == mine); word = WORD(p, 0, FULL); mine = 0;
		if
		:: try -> pc = T_RV
		:: else -> WAKEONE(RECEIVING, POST)
		fi)
	STEP(POST, w = word;
		if
		:: POS(w) != p ->
#ifdef M_SENTWHENTAKEN
			skip;
#endif
			PASSTO(SENT)
		:: POS(w) == p && STATE(w) == READING ->
#ifdef M_SENTWHENTAKEN
			PASSTO(SENT)
#else
			pc = P_ENQUEUE
#endif
		:: else -> MUST(owned, w == WORD(p, 0, FULL)); failed = failed || closed; pc = (failed -> WITHDRAW : P_ENQUEUE)
		fi)
	/* withdraw */
	STEP(WITHDRAW,
		if
#ifdef M_BLINDCANCEL
		:: true ->
#else
		:: word == WORD(p, 0, FULL) ->
#endif
			word = WORD(NEXTPOS(p), 0, FREE); failed = 1; WAKEONE(SENDING, WITHDRAWN)
#ifndef M_BLINDCANCEL
		:: else ->
			if
			:: try -> WAKEPEER(r, RECEIVING, T_SENT, 1)
			:: else -> pc = POST
			fi
#endif
		fi)
	STEP(WITHDRAWN,
		if
		:: closed -> WAKEONE(RECEIVING, FAILED)
		:: else -> pc = FAILED
		fi;
		if
		:: spent && !try && pc == FAILED -> PASSTO(FAILED)
		:: else
		fi)
	/* await for the poster: failed makes it waitOutcome */
	:: d_step { pc == P_ENQUEUE && LIVE(h) && (mutex & BIT(h)) == 0 ->
		QUEUE(h, d) = QUEUE(h, d) | PQ; SETFLAG(h, d); pc = P_READY1 }
	STEP(P_READY1, w = word;
		if
		:: POS(w) != p || STATE(w) == FULL && failed -> pc = P_DEQUEUE
		:: POS(w) == p && STATE(w) == READING -> pc = P_PARKED; REST; outcome = (failed -> outcome | BIT(g) : outcome)
		:: else -> pc = P_READY2
		fi)
	STEP(P_READY2,
		if
		:: closed -> pc = P_DEQUEUE
		:: else -> pc = P_PARKED; REST
		fi)
	:: d_step { pc == P_PARKED && LIVE(h) && (token & BIT(g)) -> token = token & ~BIT(g); spent = 1; UNREST; pc = POST }
	:: d_step { pc == P_PARKED && LIVE(h) && !failed && cancels < CANCELS -> cancels++; failed = 1; UNREST; pc = P_DEQUEUE }
	:: d_step { pc == P_DEQUEUE && LIVE(h) && (mutex & BIT(h)) == 0 ->
		if
		:: QUEUE(h, d) & PQ ->
			QUEUE(h, d) = QUEUE(h, d) & ~PQ;
			if
			:: QUEUE(h, d) == 0 -> spent = spent || !HASFLAG(h, d); CLEARFLAG(h, d)
			:: else
			fi;
			pc = POST
		:: else -> pc = P_SWALLOWED
		fi }
	:: d_step { pc == P_SWALLOWED && LIVE(h) && (token & BIT(g)) -> token = token & ~BIT(g); spent = 1; pc = POST }
	/* Send returns nil, or an error */
	STEP(SENT, MUST(received, got & BITOF(VALUE(g, i))); i++; pc = (i == TURNS -> ENDED : BEGIN); p = 0)
	STEP(FAILED, MUST(cancelled, !(got & BITOF(VALUE(g, i)))); i++; pc = (i == TURNS -> ENDED : BEGIN); p = 0; failed = 0; second = 0; r = 0)

	/* matchBegin: rvFind, claim, rvFind again, or sendAbort */
	:: d_step { (pc == T_FIND || pc == T_FIND2) && LIVE(h) ->
		r = 0;
		do
		:: r < HANDLES && !(rv[r] && LIVE(r)) -> r++
		:: else -> break
		od;
		if
		:: r < HANDLES -> pc = (pc == T_FIND -> T_CLOSED : WRITE)
		:: r == HANDLES && pc == T_FIND -> pc = FAILED
		:: else -> word = WORD(NEXTPOS(p), 0, FREE); mine = 0; WAKEONE(SENDING, T_GAVEUP)
		fi;
		if
		:: pc != WRITE -> r = 0
		:: else
		fi }
	STEP(T_CLOSED, pc = (closed -> FAILED : LOOK))
	STEP(T_GAVEUP,
		if
		:: closed -> WAKEALL(FAILED)
		:: else -> pc = FAILED
		fi)
	/* matchEnd: the receiver's flag once more */
	STEP(T_RV,
#ifndef M_FLAGALONE
		if
		:: !rv[r] -> pc = WITHDRAW
		:: else -> WAKEPEER(r, RECEIVING, T_SENT, 1)
		fi
#else
		WAKEPEER(r, RECEIVING, T_SENT, 1)
#endif
		)
	STEP(T_SENT, trysent = trysent | BITOF(VALUE(g, i)); i++; pc = (i == TURNS -> ENDED : BEGIN); p = 0; r = 0)

	/* claimRecv at a FREE slot */
	STEP(R_CLOSED, pc = (closed -> R_SEAL : MAYWAIT))
	STEP(R_SEAL,
		if
		:: word == WORD(p, 0, FREE) -> word = WORD(p, 0, SEALED); pc = R_SEALED
		:: else -> pc = LOOK
		fi)
	/* sawSealed */
	STEP(R_SEALED, spent = 0; failed = 0; WAKEALL(ENDED))
	/* rvLeave, before the slot is freed */
	STEP(R_LEAVE,
		if
#ifdef M_LEAVELATE
		:: false
#else
		:: waits -> waiting[h]--; rv[h] = (waiting[h] > 0); waits = 0
#endif
		:: else
		fi; pc = R_READ)
	STEP(R_READ, x = val; MUST(whole, x != 0); pc = R_POSTER)
	STEP(R_POSTER, r = poster; pc = R_FREE)
	STEP(R_FREE, MUST(owned, word == mine); MUST(whole, val == x); MUST(once, !(got & BITOF(x))); got = got | BITOF(x);
		word = WORD(NEXTPOS(p), 0, FREE); mine = 0; x = 0; p = 0;
#ifdef M_NOWAKEPOSTER
		pc = R_FREED
#else
		WAKEPEER(r, SENDING, R_FREED, 0)
#endif
		; r = 0)
	/* wakeAfterFree */
	STEP(R_FREED, WAKEONE(SENDING, R_FREED2))
	STEP(R_FREED2, failed = 0;
		if
		:: closed -> WAKEONE(RECEIVING, R_NEXT)
		:: else -> pc = R_NEXT
		fi)
#if TAKES
	STEP(R_NEXT, i++; pc = (i == TAKES -> ENDED : LOOK))
#else
	STEP(R_NEXT, pc = LOOK)
#endif
	/* recvAbort: giveBack, wakeOne(receiving), wakePeer(poster) */
	:: d_step { pc == R_POSTER && backs < BACKS && LIVE(h) -> backs++; again = again | BITOF(x);
		MUST(owned, word == mine); word = WORD(p, 0, FULL); mine = 0; x = 0; WAKEONE(RECEIVING, R_BACK) }
	STEP(R_BACK, r = poster; pc = R_BACKED)
	STEP(R_BACKED, p = 0;
#ifdef M_NOBACKPOSTER
		pc = ENDED; r = 0
#else
		WAKEPEER(r, SENDING, ENDED, 0); r = 0
#endif
		)
	WAKESTEPS
	WAKEPEERSTEPS
	:: d_step { pc == ENDED && LIVE(h) ->
		if
		:: waits -> waiting[h]--; rv[h] = (waiting[h] > 0); waits = 0
		:: else
		fi;
		REST; ended = ended | BIT(g); spent = 0; failed = 0; p = 0; pc = 0 }
	od
}

#ifdef CLOSE
proctype closer(byte h) {
	byte pc = 1;
	WAKEVARS;

end:	do
	STEP(1, closed = 1; WAKEALL(0))
	WAKESTEPS
	od
}
#endif

#if CRASHES
byte marked;

proctype crasher() {
end:	do
	:: d_step { deaths < CRASHES && LIVE(0) -> deaths++; dead = dead | BIT(0) }
	:: d_step { deaths < CRASHES && LIVE(1) -> deaths++; dead = dead | BIT(1) }
	od
}

#define X_WORD 1
#define X_CAS 2
#define X_POSTER 3
#define X_WAKEPOSTER 4
#define X_CLOSED 5
#define X_FLAGS 6
#define X_WAKE1 7
#define X_WAKE2 8
#define X_WAKE3 9
#define X_LOOK 10
#define X_READY1 11
#define X_NEXT 12

/* peerDied: clear, by the first; then lookAfter. With one death, nobody else's holders
 * are dead by then. */
proctype watcher(byte h) {
	byte pc, who, old, told;
	bit dd;
	WAKEVARS;

end:	do
	:: d_step { pc == 0 && LIVE(h) && dead & ~told -> told = dead; who = (dead & 1 -> 0 : (dead & 2 -> 1 : 2));
		dd = RECEIVING; pc = (marked & BIT(who) -> X_LOOK : X_WORD); marked = marked | BIT(who) }
	STEP(X_WORD, old = word; pc = ((STATE(old) == WRITING || STATE(old) == READING) && OWNER(old) == who -> X_CAS : X_FLAGS))
	STEP(X_CAS,
		if
		:: word != old -> pc = X_FLAGS
		:: word == old && STATE(old) == WRITING -> word = WORD(NEXTPOS(POS(old)), 0, FREE); WAKEONE(SENDING, X_CLOSED)
		:: else -> word = WORD(POS(old), 0, FULL); WAKEONE(RECEIVING, X_POSTER)
		fi; old = 0)
	STEP(X_POSTER, old = poster; pc = X_WAKEPOSTER)
#ifdef M_NORECOVERPOSTER
	STEP(X_WAKEPOSTER, old = 0; pc = X_CLOSED)
#else
	STEP(X_WAKEPOSTER, WAKEPEER(old, SENDING, X_CLOSED, 0); old = 0)
#endif
	STEP(X_CLOSED,
		if
		:: closed -> WAKEALL(X_FLAGS)
		:: else -> pc = X_FLAGS
		fi)
	STEP(X_FLAGS, CLEARFLAG(who, SENDING); CLEARFLAG(who, RECEIVING); rv[who] = 0; pc = X_WAKE1)
	STEP(X_WAKE1, WAKEONE(SENDING, X_WAKE2))
	STEP(X_WAKE2, WAKEONE(RECEIVING, X_WAKE3))
	STEP(X_WAKE3,
		if
		:: closed -> WAKEALL(X_LOOK)
		:: else -> pc = X_LOOK
		fi)
	/* lookAfter: the posters are woken to look for themselves if one of them is settled,
	 * and here whenever there are any, which is no less */
	:: d_step { pc == X_LOOK && LIVE(h) && (mutex & BIT(h)) == 0 ->
		if
		:: QUEUE(h, dd) == 0 -> pc = X_NEXT
		:: else -> SETFLAG(h, dd); pc = X_READY1
		fi }
	STEP(X_READY1, w = word;
		if
		:: dd == SENDING && (closed || STATE(w) == FREE || STATE(w) == SEALED || (QUEUE(h, dd) & POSTERS)) || dd == RECEIVING && (STATE(w) == FULL || STATE(w) == SEALED || STATE(w) == FREE && closed) ->
			wd = dd; only = 1; ret = X_NEXT; pc = K_LOCAL
		:: else -> pc = X_NEXT
		fi)
	STEP(X_NEXT,
		if
		:: dd == RECEIVING -> dd = SENDING; pc = X_LOOK
		:: else -> who = 0; pc = 0
		fi)
	WAKESTEPS
	WAKEPEERSTEPS
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
		MUST(woken, !((parked[RECEIVING] & live) && (STATE(word) == FULL || STATE(word) == SEALED || STATE(word) == FREE && closed)));
		MUST(woken, !((parked[SENDING] & live) && (STATE(word) == FREE || STATE(word) == SEALED || closed)));
		/* Nobody is parked as a poster but he whose offer stands, and is not to be taken back. */
		live = atrest & live & ~(parked[0] | parked[1] | ended);
		MUST(woken, live == 0 || STATE(word) == FULL && !closed && live == BIT((val-1)/TURNS) && !(outcome & live));
		/* What a TrySend has sent is not left lying, but by a receiver that died or gave it back. */
		MUST(taken, deaths > 0 || !(STATE(word) == FULL && (trysent & BITOF(val)) && !(again & BITOF(val))))
	}
}

#define START(n, h, d, try) \
	k = 0; \
	do \
	:: k < n -> homes[h] = homes[h] | BIT(g); run goroutine(h, g, d, try); g++; k++ \
	:: else -> break \
	od

init {
	byte g, k;
	atomic {
		START(SENDS0, 0, SENDING, 0);
		START(TRYSENDS0, 0, SENDING, 1);
		START(RECVS0, 0, RECEIVING, 0);
		START(SENDS1, 1, SENDING, 0);
		START(TRYSENDS1, 1, SENDING, 1);
		START(RECVS1, 1, RECEIVING, 0);
		run listener(0);
		run listener(1);
#if HANDLES > 2
		START(RECVS2, 2, RECEIVING, 0);
		run listener(2);
#endif
#ifdef CLOSE
		run closer(0);
#endif
#if CRASHES
		run crasher();
		run watcher(0);
		run watcher(1);
#if HANDLES > 2
		run watcher(2);
#endif
#endif
		run final();
		g = 0; k = 0
	}
}
