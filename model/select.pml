/* Selects that meet without a buffer, as select.go and rendezvous.go have it: offers, exchanges, who
 * goes where by the flags of those who receive, TrySends that count on a Select, cancels, deaths.
 *
 * Two channels of capacity 0; the first has the lower id. Each goroutine has a handle of its own on each, so a queue is a
 * flag, and a ring is the wake itself (wait.pml and rendezvous.pml have what lies between). Each access to a word, to poster, and to a flag is a step.
 * A Send is a Select of one send. */

/* Goroutines 0, 1, ... with the channels, as bits, that each would send to and receive from. */
#ifndef S0
#define S0 0
#endif
#ifndef R0
#define R0 0
#endif
#ifndef S1
#define S1 0
#endif
#ifndef R1
#define R1 0
#endif
#ifndef S2
#define S2 0
#endif
#ifndef R2
#define R2 0
#endif
#ifndef TRIES /* the last goroutine: so many TrySends to the first channel */
#define TRIES 0
#endif
#ifndef TURNS
#define TURNS 1
#endif
#ifndef CANCELS
#define CANCELS 0
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef TIRED /* so often an offer has stood for long */
#define TIRED 0
#endif
#ifndef FAILS /* so many exchanges fail at most until one goes through */
#define FAILS 3
#endif

#define BIT(i) (1<<(i))
#define SENDING 0
#define RECEIVING 1
#define FREE 0
#define WRITING 1
#define FULL 2
#define READING 3
#define WORD(p, o, s) (((p)<<5)|((o)<<3)|(s))
#define POS(w) ((w)>>5)
#define OWNER(w) (((w)>>3)&3)
#define STATE(w) ((w)&7)
#define NEXT(p) (((p)+1)%8)
#define QUEUE(c, d) BIT((c)*2+(d))
#define MUST(property, holds) assert(property || (holds))
#if CRASHES
#define LIVE (!(dead & BIT(g)))
#else
#define LIVE (1)
#endif
#define STEP(a, ...) :: d_step { pc == a && LIVE -> __VA_ARGS__ }
#define VALUE (1+g*TURNS+turn)
#define VBIT(v) BIT((v)-1)

byte word[2] = WORD(7, 0, FREE), val[2], poster[2];
byte receives[2], sends_[2]; /* the bits rvSelect and rvSender of each goroutine's flag */
byte watching[2]; /* those who are queued for a receiver to come */
byte flags[4]; /* by channel*2+direction */
byte token, parked, ended, dead, recovered;
byte cancels, deaths, tireds, fails;
short got, unsent, trysent;
byte wants[3], takes[3]; /* what a goroutine that is parked would do */
byte running, tryer; /* goroutines that there are; those that TrySend */
hidden byte met, once, owned, half, cancelled, taken, stuck, progress, self; /* properties, see MUST */

/* Waking: clear a flag, then ring. */
#define WAKEONE(c, d, r) wc = (c)*2+(d); ret = r; pc = K_TAKE
#define WAKEPEER(i, c, r) wc = (c)*2; wi = i; ret = r; pc = K_PEER
#define K_TAKE 100
#define K_RING 101
#define K_PEER 102
#define K_CALL 103
#define RETURN pc = ret; ret = 0; wc = 0; wi = 0
#define TAKE(i) :: d_step { pc == K_TAKE && LIVE && (flags[wc] & BIT(i)) -> flags[wc] = flags[wc] & ~BIT(i); wi = i; pc = K_RING }
#define WAKESTEPS \
	TAKE(0) TAKE(1) TAKE(2) \
	:: d_step { pc == K_TAKE && LIVE && flags[wc] == 0 -> RETURN } \
	STEP(K_RING, if :: dead & BIT(wi) -> pc = K_TAKE :: else -> token = token | BIT(wi); RETURN fi) \
	STEP(K_PEER, if :: flags[wc] & BIT(wi) -> flags[wc] = flags[wc] & ~BIT(wi); pc = K_RING :: else -> RETURN fi)

#define BEGIN 1
#define CALL 2
#define TOP 3
#define EACH 4
#define CLAIM 5
#define LOWFIRST 6
#define LOWSECOND 7
#define LOWBACK 8
#define OWNFIRST 9
#define OWNSECOND 10
#define OWNBACK 11
#define OWNDROP 12
#define PLACE 13
#define MOVE 14
#define POST 15
#define POSTED 16
#define PUBLISH 17
#define ENQUEUE 18
#define LOOK 19
#define LOOKWANT 20
#define PARKED 21
#define DEQUEUE 22
#define PASS 23
#define WITHDRAW 24
#define READ 25
#define FREED 26
#define FREED2 27
#define LEAVE 28
#define LEFT 29
#define PASSON 30
#define PASSREADY 31
#define DONE 32
#define UNUSED 33
#define EACHTAKE 34
#define RIVAL 35
#define BACKPOSTER 36
#define CALLED1 37
#define NONE 9

#define OFF (offer-1)
#define SENDS(c) (sends & BIT(c))
#define RECVS(c) (recvs & BIT(c))
#define MEETS(c) (sends == 3 || RECVS(c))
#define AWAITED(c) (receives[c] & ~BIT(g))
#ifdef M_WANTBLIND
#define CROSSES(c) 0
#else
#define CROSSES(c) RECVS(c)
#endif
/* want, but that where several will do it may be any */
#define STAYS (offer && (!MEETS(OFF) || !tired && AWAITED(OFF)))
#define CALLED(c) (SENDS(c) && offer != c+1 && MEETS(c) && AWAITED(c))
#define ANYCALLED (CALLED(0) || CALLED(1))
#define KEEPS (offer && (!CROSSES(OFF) || AWAITED(OFF)))
#define WANTS(c) ( \
	STAYS -> offer == c+1 : ( \
	ANYCALLED -> CALLED(c) : ( \
	KEEPS -> offer == c+1 : SENDS(c) && !CROSSES(c))))
#define WANTSNONE (!WANTS(0) && !WANTS(1))

proctype selects(byte g; byte sends; byte recvs) {
	byte pc = BEGIN, turn, offer, p, q, c, i, x, ret, wc, wi, want, queue, woken, after;
	bit why, tired, reading, ran, sent;

end:	do
	/* countIn: our flags; who receives calls those who would send */
	STEP(BEGIN,
		if
		:: i < 2 && RECVS(i) -> receives[i] = receives[i] | BIT(g); wi = 0; pc = CALL
		:: else
		fi;
		if
		:: i < 2 && SENDS(i) && MEETS(i) -> sends_[i] = sends_[i] | BIT(g)
		:: else
		fi;
		if
		:: pc == CALL
		:: pc != CALL && i < 2 -> i++
		:: else -> i = 0; pc = TOP
		fi)
#ifdef M_NOCALL
	STEP(CALL, i++; pc = BEGIN)
#else
	STEP(CALL,
		if
		:: wi < 3 && (sends_[i] & BIT(wi)) && wi != g -> pc = CALLED1
		:: wi < 3 && !((sends_[i] & BIT(wi)) && wi != g) -> wi++
		:: else -> wi = 0; i++; pc = BEGIN
		fi)
	/* the ring, for those who are queued */
	STEP(CALLED1, token = (watching[i] & BIT(wi) -> token | BIT(wi) : token); wi++; pc = CALL)
#endif

	/* await: what has become of the offer */
	STEP(TOP, reading = 0; x = 0;
		if
		:: offer == 0 -> pc = (why -> LEAVE : EACH)
		:: else ->
			x = word[OFF];
			if
			:: POS(x) != p -> sent = 1; ran = 1; offer = 0; pc = LEAVE
			:: POS(x) == p && STATE(x) == READING -> reading = 1; after = ENQUEUE; pc = PASS
			:: else -> MUST(owned, STATE(x) == FULL); after = (why -> LEAVE : TOP); pc = (why -> WITHDRAW : EACH)
			fi
		fi; x = 0; i = 0)
	STEP(WITHDRAW,
		if
		:: word[OFF] == WORD(p, 0, FULL) -> word[OFF] = WORD(NEXT(p), 0, FREE); c = OFF; offer = 0; x = after; after = 0; WAKEONE(c, SENDING, x); x = 0
		:: else -> after = 0; pc = TOP
		fi)

	/* tryEach: some receive whose slot is full, or none */
#define EACH1(k) :: d_step { pc == EACH && LIVE && RECVS(k) && offer != k+1 && STATE(word[k]) == FULL -> \
		c = k; pc = (offer == 0 -> CLAIM : (XLOWER(k) -> LOWFIRST : OWNFIRST)) }
#if defined(M_BOTHWITHDRAW)
#define XLOWER(k) 0
#elif defined(M_NOORDER)
#define XLOWER(k) 1
#else
#define XLOWER(k) (k < OFF)
#endif
	EACH1(0)
	EACH1(1)
	:: d_step { pc == EACH && LIVE && !(RECVS(0) && offer != 1 && STATE(word[0]) == FULL) && !(RECVS(1) && offer != 2 && STATE(word[1]) == FULL) -> pc = PLACE }
	STEP(CLAIM,
		if
		:: STATE(word[c]) == FULL -> q = POS(word[c]); word[c] = WORD(q, g, READING); pc = READ
		:: else -> pc = TOP
		fi)
	/* exchange, with the other's slot lower: it first */
	STEP(LOWFIRST,
#ifdef M_NOWITHDRAW
		if
		:: STATE(word[c]) == FULL -> q = POS(word[c]); word[c] = WORD(q, g, READING); pc = READ
		:: else -> pc = TOP
		fi
#else
		if
		:: STATE(word[c]) == FULL -> q = POS(word[c]); word[c] = WORD(q, g, READING); pc = LOWSECOND
		:: else -> fails++; MUST(progress, fails <= FAILS); pc = TOP
		fi
#endif
		)
	STEP(LOWSECOND,
		if
		:: word[OFF] == WORD(p, 0, FULL) -> word[OFF] = WORD(NEXT(p), 0, FREE); i = OFF; offer = 0; WAKEONE(i, SENDING, READ); i = 0
		:: else -> pc = LOWBACK; fails++; MUST(progress, fails <= FAILS)
		fi)
#ifdef M_KEEPBOTH
	STEP(LOWBACK, pc = READ)
#else
	STEP(LOWBACK, MUST(owned, word[c] == WORD(q, g, READING)); word[c] = WORD(q, 0, FULL);
#ifdef M_NOBACKWAKE
		pc = TOP
#else
		WAKEONE(c, RECEIVING, BACKPOSTER)
#endif
		)
	STEP(BACKPOSTER, WAKEPEER(poster[c], c, TOP))
#endif
	/* the own slot lower: it first, held as READING */
#ifdef M_BOTHWITHDRAW
	STEP(OWNFIRST,
		if
		:: word[OFF] == WORD(p, 0, FULL) -> word[OFF] = WORD(NEXT(p), 0, FREE); i = OFF; offer = 0; WAKEONE(i, SENDING, OWNSECOND); i = 0
		:: else -> pc = TOP
		fi)
	STEP(OWNSECOND,
		if
		:: STATE(word[c]) == FULL -> q = POS(word[c]); word[c] = WORD(q, g, READING); pc = READ
		:: else -> fails++; MUST(progress, fails <= FAILS); pc = TOP
		fi)
#else
	STEP(OWNFIRST,
		if
		:: word[OFF] == WORD(p, 0, FULL) -> word[OFF] = WORD(p, g, READING); pc = OWNSECOND
		:: else -> pc = TOP; fails++; MUST(progress, fails <= FAILS)
		fi)
	STEP(OWNSECOND,
		if
		:: STATE(word[c]) == FULL -> q = POS(word[c]); word[c] = WORD(q, g, READING); pc = OWNDROP
		:: else -> pc = OWNBACK; fails++; MUST(progress, fails <= FAILS)
		fi)
	STEP(OWNBACK, word[OFF] = WORD(p, 0, FULL);
#ifdef M_NOBACKWAKE
		pc = TOP
#else
		WAKEONE(OFF, RECEIVING, TOP)
#endif
		)
	STEP(OWNDROP, MUST(owned, word[OFF] == WORD(p, g, READING)); word[OFF] = WORD(NEXT(p), 0, FREE); i = OFF; offer = 0; WAKEONE(i, SENDING, READ); i = 0)
#endif

	/* place */
#define PLACE1(k) :: d_step { pc == PLACE && LIVE && WANTS(k) -> want = k+1; pc = (offer == k+1 -> ENQUEUE : MOVE) }
	PLACE1(0)
	PLACE1(1)
	:: d_step { pc == PLACE && LIVE && WANTSNONE -> want = 0; pc = (offer == 0 -> UNUSED : MOVE) }
	STEP(MOVE,
		if
		:: offer == 0 -> pc = POST
		:: else -> after = POST; pc = WITHDRAW
		fi)
	STEP(POST,
		if
		:: want && STATE(word[want-1]) == FREE -> p = POS(word[want-1]); word[want-1] = WORD(p, g, WRITING); pc = POSTED
		:: else -> pc = UNUSED
		fi)
	STEP(POSTED, val[want-1] = VALUE; poster[want-1] = g; pc = PUBLISH)
	STEP(PUBLISH, MUST(owned, word[want-1] == WORD(p, g, WRITING)); word[want-1] = WORD(p, 0, FULL); offer = want; tired = 0; WAKEONE(OFF, RECEIVING, UNUSED))
	/* a turn that we do not use is another's */
	STEP(UNUSED,
		if
		:: (woken & QUEUE(0, SENDING)) && offer != 1 -> woken = woken & ~QUEUE(0, SENDING); c = 0; x = SENDING; after = UNUSED; pc = PASSON
		:: !((woken & QUEUE(0, SENDING)) && offer != 1) && (woken & QUEUE(1, SENDING)) && offer != 2 -> woken = woken & ~QUEUE(1, SENDING); c = 1; x = SENDING; after = UNUSED; pc = PASSON
		:: else -> pc = ENQUEUE
		fi; i = 0)

	/* wait: a queue, and a flag, for each case */
	STEP(ENQUEUE,
		if
		:: i < 4 && (i & 1) == RECEIVING && RECVS(i/2) && !reading && offer != i/2+1 ||
			i < 4 && (i & 1) == SENDING && SENDS(i/2) && (reading && offer == i/2+1 || !reading && want == i/2+1 || !reading && offer == i/2+1) ->
			flags[i] = flags[i] | BIT(g); queue = queue | BIT(i)
		:: i < 4 && (i & 1) == SENDING && !reading && SENDS(i/2) && want != i/2+1 && offer != i/2+1 -> watching[i/2] = watching[i/2] | BIT(g)
		:: else
		fi;
		if
		:: i < 4 -> i++
		:: else -> i = 0; pc = (reading -> LOOK : LOOKWANT)
		fi)
	/* look: the receives, then the offer */
	:: d_step { pc == LOOKWANT && LIVE ->
#ifdef M_NOLOOK
		i = 2
#else
		if
		:: i < 2 && RECVS(i) && offer != i+1 && STATE(word[i]) == FULL -> i = 0; pc = DEQUEUE
		:: else -> i++
		fi
#endif
		;
		if
		:: pc == LOOKWANT && i == 2 -> i = 0; pc = LOOK
		:: else
		fi }
	STEP(LOOK,
		if
		:: offer && POS(word[OFF]) != p || reading && STATE(word[OFF]) == FULL -> pc = DEQUEUE
		:: offer && POS(word[OFF]) == p && !reading -> pc = RIVAL
		:: offer == 0 -> pc = RIVAL
		:: else -> pc = PARKED; parked = parked | BIT(g)
		fi)
	/* want once more */
	:: d_step { pc == RIVAL && LIVE ->
		if
#ifndef M_WANTONCE
		:: offer != 1 && WANTS(0) && STATE(word[0]) == FREE || offer != 2 && WANTS(1) && STATE(word[1]) == FREE -> pc = DEQUEUE
		:: offer && WANTSNONE -> pc = DEQUEUE
#else
		:: 0
#endif
		:: else -> pc = PARKED; parked = parked | BIT(g); wants[g] = sends; takes[g] = recvs
		fi }
	:: d_step { pc == PARKED && LIVE && (token & BIT(g)) -> parked = parked & ~BIT(g); pc = DEQUEUE }
	:: d_step { pc == PARKED && LIVE && !reading && !why && cancels < CANCELS -> cancels++; why = 1; parked = parked & ~BIT(g); pc = DEQUEUE }
	:: d_step { pc == PARKED && LIVE && !reading && offer && tireds < TIRED && ANYCALLED -> tireds++; tired = 1; parked = parked & ~BIT(g); pc = DEQUEUE }
	STEP(DEQUEUE,
		if
		:: i < 4 && (queue & BIT(i)) ->
			if
			:: flags[i] & BIT(g) -> flags[i] = flags[i] & ~BIT(g)
			:: else -> woken = woken | BIT(i)
			fi; queue = queue & ~BIT(i); i++
		:: i < 4 && !(queue & BIT(i)) -> i++
		:: else -> i = 0; token = token & ~BIT(g); watching[0] = watching[0] & ~BIT(g); watching[1] = watching[1] & ~BIT(g); reading = 0; pc = TOP
		fi)

	/* the value, and the slot free */
	STEP(READ, MUST(owned, word[c] == WORD(q, g, READING)); x = val[c]; MUST(self, (x-1)/TURNS != g); pc = FREED)
	STEP(FREED, MUST(owned, word[c] == WORD(q, g, READING)); MUST(once, !(got & VBIT(x))); MUST(cancelled, !(unsent & VBIT(x)));
		got = got | VBIT(x); fails = 0; word[c] = WORD(NEXT(q), 0, FREE); ran = 1; sent = 0; x = 0; i = 0; q = 0; WAKEPEER(poster[c], c, FREED2))
	STEP(FREED2, WAKEONE(c, SENDING, (offer -> DONE : LEAVE)))

	/* end: our flags down, and whoever counts on us is told; then the wakes are passed on */
	STEP(LEAVE,
		if
		:: i < 2 && RECVS(i) -> receives[i] = receives[i] & ~BIT(g); pc = LEFT
		:: else
		fi;
		if
		:: i < 2 && SENDS(i) -> sends_[i] = sends_[i] & ~BIT(g)
		:: else
		fi;
		if
		:: pc == LEFT
		:: pc != LEFT && i < 2 -> i++
		:: else -> i = 0; after = DONE; pc = PASS
		fi)
	STEP(LEFT, i++;
#ifdef M_LEAVESILENT
		pc = LEAVE
#else
		if
		:: STATE(word[i-1]) == FULL -> WAKEPEER(poster[i-1], i-1, LEAVE)
		:: else -> pc = LEAVE
		fi
#endif
		)
	STEP(PASS,
		if
		:: i < 4 && (woken & BIT(i)) -> woken = woken & ~BIT(i); c = i/2; x = i & 1; i++; pc = PASSON; q = 1
		:: i < 4 && !(woken & BIT(i)) -> i++
		:: else -> i = 0; pc = after; after = 0; woken = 0
		fi)
	/* passOn; q: on the way through PASS */
	STEP(PASSON, pc = (flags[c*2+x] -> PASSREADY : (q -> PASS : UNUSED)); q = (pc == PASSREADY -> q : 0))
	STEP(PASSREADY,
		if
		:: x == SENDING && STATE(word[c]) == FREE || x == RECEIVING && STATE(word[c]) == FULL -> ret = (q -> PASS : UNUSED); wc = c*2+x; pc = K_TAKE
		:: else -> pc = (q -> PASS : UNUSED)
		fi; q = 0; x = 0)
	STEP(DONE,
		MUST(half, !(ran && sent) || (got & VBIT(VALUE)));
		MUST(half, (ran && sent) || !(got & VBIT(VALUE)));
		MUST(half, offer == 0);
		if
		:: !(ran && sent) && sends -> unsent = unsent | VBIT(VALUE)
		:: else
		fi;
		turn++; p = 0; q = 0; c = 0; want = 0; why = 0; ran = 0; sent = 0; tired = 0; after = 0; x = 0; wants[g] = 0; takes[g] = 0;
		if
		:: turn == TURNS -> turn = 0; ended = ended | BIT(g); pc = 0
		:: else -> pc = BEGIN
		fi)
	WAKESTEPS
	od
}

#if TRIES
#define T_FIND 1
#define T_CLAIM 2
#define T_FIND2 3
#define T_PUBLISH 4
#define T_RV 5
#define T_AWAIT 6
#define T_ENQUEUE 7
#define T_LOOK 8
#define T_LOOK2 9
#define T_PARKED 10
#define T_DEQUEUE 11
#define T_WITHDRAW 12
#define T_PASS 13
#define T_FULL 14
#define T_SENT 15
#define T_NEXT 16
#define T_WOKEN 17

/* TrySend, as far as it counts on Selects. */
proctype try(byte g) {
	byte pc = T_FIND, turn, p, r, ret, wc, wi, after;
	bit woken, late;

end:	do
	STEP(T_FIND, r = (receives[0] & 1 -> 0 : (receives[0] & 2 -> 1 : (receives[0] & 4 -> 2 : NONE))); pc = (r == NONE -> T_FULL : T_CLAIM))
	STEP(T_CLAIM,
		if
		:: STATE(word[0]) == FREE -> p = POS(word[0]); word[0] = WORD(p, g, WRITING); pc = T_FIND2
		:: else -> pc = T_FULL
		fi)
	STEP(T_FIND2, r = (receives[0] & 1 -> 0 : (receives[0] & 2 -> 1 : (receives[0] & 4 -> 2 : NONE)));
		if
		:: r == NONE -> word[0] = WORD(NEXT(p), 0, FREE); WAKEONE(0, SENDING, T_FULL)
		:: else -> val[0] = VALUE; poster[0] = g; pc = T_PUBLISH
		fi)
	STEP(T_PUBLISH, word[0] = WORD(p, 0, FULL); pc = T_RV)
	STEP(T_RV,
#ifdef M_TRYATONCE
		trysent = trysent | VBIT(VALUE); WAKEPEER(r, 0, T_SENT); wc = 1
#else
		wc = 1; wi = r; ret = T_AWAIT; pc = K_PEER
#endif
		)
	STEP(T_AWAIT,
		if
		:: POS(word[0]) != p -> trysent = trysent | VBIT(VALUE); after = T_SENT; pc = T_PASS
		:: POS(word[0]) == p && STATE(word[0]) == FULL && (late || !(receives[0] & BIT(r))) -> pc = T_WITHDRAW
		:: POS(word[0]) == p && STATE(word[0]) != FULL && late -> after = T_SENT; pc = T_PASS /* It cannot be told. */
		:: else -> pc = T_ENQUEUE
		fi)
	STEP(T_ENQUEUE, flags[0] = flags[0] | BIT(g); pc = T_LOOK)
	STEP(T_LOOK, pc = (POS(word[0]) != p -> T_DEQUEUE : T_LOOK2))
	STEP(T_LOOK2,
		if
#ifndef M_TRYNOLOOK
		:: STATE(word[0]) == FULL && !(receives[0] & BIT(r)) -> pc = T_DEQUEUE
#endif
		:: else -> pc = T_PARKED; parked = parked | BIT(g)
		fi)
	:: d_step { pc == T_PARKED && LIVE && (token & BIT(g)) -> parked = parked & ~BIT(g); pc = T_DEQUEUE }
	:: d_step { pc == T_PARKED && LIVE && cancels < CANCELS -> cancels++; late = 1; parked = parked & ~BIT(g); pc = T_DEQUEUE }
	STEP(T_DEQUEUE,
		if
		:: flags[0] & BIT(g) -> flags[0] = flags[0] & ~BIT(g)
		:: else -> woken = 1
		fi; token = token & ~BIT(g); pc = T_AWAIT)
	STEP(T_WITHDRAW,
		if
		:: word[0] == WORD(p, 0, FULL) -> word[0] = WORD(NEXT(p), 0, FREE); unsent = unsent | VBIT(VALUE); after = T_FULL; WAKEONE(0, SENDING, T_PASS)
		:: else -> pc = T_AWAIT
		fi)
	STEP(T_PASS,
		if
		:: woken && STATE(word[0]) == FREE -> woken = 0; ret = after; after = 0; wc = 0; pc = K_TAKE
		:: else -> pc = after; after = 0; woken = 0
		fi)
	STEP(T_FULL, unsent = unsent | VBIT(VALUE); pc = T_NEXT)
	STEP(T_SENT, pc = T_NEXT)
	STEP(T_NEXT, turn++; p = 0; r = 0; late = 0;
		if
		:: turn == TURNS -> turn = 0; ended = ended | BIT(g); pc = 0
		:: else -> pc = T_FIND
		fi)
	WAKESTEPS
	od
}
#endif

#if CRASHES
#define BACK(c) \
	if \
	:: STATE(word[c]) == READING && OWNER(word[c]) == g -> word[c] = WORD(POS(word[c]), 0, FULL) \
	:: STATE(word[c]) == WRITING && OWNER(word[c]) == g -> word[c] = WORD(NEXT(POS(word[c])), 0, FREE) \
	:: else \
	fi; \
	watching[c] = watching[c] & ~BIT(g); receives[c] = receives[c] & ~BIT(g); sends_[c] = sends_[c] & ~BIT(g)

/* Deaths; and what is recovered, after which everybody looks (lookAfter). */
proctype crasher() {
	byte g;
end:	do
	:: d_step { deaths < CRASHES -> deaths++; dead = dead | 1 }
	:: d_step { deaths < CRASHES -> deaths++; dead = dead | 2 }
	:: d_step { dead & ~recovered -> g = (dead & ~recovered & 1 -> 0 : 1);
		BACK(0); BACK(1); flags[0] = flags[0] & ~BIT(g); flags[1] = flags[1] & ~BIT(g); flags[2] = flags[2] & ~BIT(g); flags[3] = flags[3] & ~BIT(g);
		recovered = recovered | BIT(g); parked = parked & ~BIT(g); token = 7 & ~dead; g = 0 }
	od
}
#endif

/* When nobody can go on: no two that are parked could meet, no offer lies there for one who waits, and what a TrySend has sent is received. */
#define MEET(a, b) (((parked & BIT(a)) && (parked & BIT(b)) && (wants[a] & takes[b])))
#define LEFTFULL(a, c) (STATE(word[c]) == FULL && (parked & BIT(a)) && (takes[a] & BIT(c)) && (val[c]-1)/TURNS != a)
proctype final() {
	timeout;
	d_step {
		MUST(stuck, ((parked | ended | dead) & running) == running);
		MUST(met, !MEET(0, 1) && !MEET(1, 0) && !MEET(0, 2) && !MEET(2, 0) && !MEET(1, 2) && !MEET(2, 1));
		MUST(met, !LEFTFULL(0, 0) && !LEFTFULL(0, 1) && !LEFTFULL(1, 0) && !LEFTFULL(1, 1) && !LEFTFULL(2, 0) && !LEFTFULL(2, 1));
		MUST(taken, deaths > 0 || (trysent & ~got) == 0);
		MUST(stuck, !(parked & tryer))
	}
}

init {
	atomic {
		if
		:: S0 || R0 -> running = running | 1; run selects(0, S0, R0)
		:: else
		fi;
		if
		:: S1 || R1 -> running = running | 2; run selects(1, S1, R1)
		:: else
		fi;
#if TRIES
		running = running | 4; tryer = 4;
		run try(2);
#else
		if
		:: S2 || R2 -> running = running | 4; run selects(2, S2, R2)
		:: else
		fi;
#endif
#if CRASHES
		run crasher();
#endif
		run final()
	}
}
