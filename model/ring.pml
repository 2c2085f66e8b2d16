/* The ring: claims, publishes, frees, holes, seals and recovery, as ring.go has them.
 *
 * Every process is a machine with a program counter. One STEP is one atomic load, store
 * or CAS of the code on shared memory, together with the private computing that follows
 * it. A process may die before any of its steps. README.md says which step is which
 * line of the code, check says with which definitions this is run.
 *
 * Whoever is blocked waits here until the words say that he may go on, as if he were
 * always woken: that he is woken is what wait.pml is about.
 */

#ifndef N
#define N 2 /* slots, a power of two */
#endif
#ifndef C
#define C N /* capacity */
#endif
#ifndef M
#define M 16 /* positions are modulo M */
#endif
#ifndef START
#define START (M-1) /* the first position: the numbers wrap at the second */
#endif
#ifndef SENDERS
#define SENDERS 1
#endif
#ifndef RECEIVERS
#define RECEIVERS 1
#endif
#ifndef VALUES
#define VALUES 2 /* values of each sender */
#endif
#ifndef CRASHES
#define CRASHES 0 /* at most so many deaths of senders and receivers */
#endif
#ifndef RECCRASHES
#define RECCRASHES 0 /* at most so many deaths of a recoverer half way */
#endif
#ifndef SLOWREC
#define SLOWREC 0 /* further recoverers, without the lock, that may be late */
#endif
#ifndef ABORTS
#define ABORTS 0 /* at most so many SendFuncs fail */
#endif
#ifndef BACKS
#define BACKS 0 /* at most so many RecvFuncs fail */
#endif
/* TRYSEND, TRYRECV: TrySend and TryRecv instead of Send and Recv.
 * EARLYCLOSE: Close comes at any time, not after the last Send.
 * ONESENDER, ONERECEIVER: the single roles.
 * LANE: senders and receivers that are many also go straight to the slot where they think they are.
 * STRAIGHT: with ONESENDER, it also goes straight to its slot, with its window.
 * HALVES: a value is written in two steps.
 * TRYONE: with TRYRECV, only the last receiver uses TryRecv.
 * ROUNDS: more than a claim of a sender may ever go round.
 * COUNTFULL: full is when there are C values, or somebody has a slot in hand.
 * INEXACT: full and empty are not compared with the truth, which makes fewer states. */
#define HINTMASK 1 /* hintMask: the single roles bring their hint up every 2 positions */

/* A word: position, tag (generation and index of the owner), state. */
#define FREE 0
#define WRITING 1
#define FULL 2
#define READING 3
#define SEALED 4
#define HOLE 5
#define WORD(p, t, s) (((p)<<8)|((t)<<3)|(s))
#define POS(w) ((w)>>8)
#define TAG(w) (((w)>>3)&31)
#define STATE(w) ((w)&7)
#define ADD(p, k) (((p)+(k)+M)%M)
#define DIST(a, b) ((((a)-(b)+M+M/2)%M)-M/2)
#define SLOT(p) slot[(p)%N]

/* Shared memory. */
short slot[N];
byte val[N];
byte tail = START, head = START;
byte holes, backs;
bit closed;
#ifdef STRAIGHT
short window;
byte died; /* the tag of the sender that died last: another may have its role by now */
#endif

/* Participants: senders first. A dead one is in dead until it is recovered. */
#define PEERS (SENDERS+RECEIVERS)
byte dead, gone, deaths, reccrashes, aborts, given;
#ifdef ONEHANDLE /* the receivers, but for the last, are goroutines of one handle */
#define MYTAG(i) ((i) > SENDERS && (i) < PEERS-1 -> SENDERS : (i))
#elif CRASHES
byte gen[PEERS];
#ifdef M_NOGEN /* a mutant: tags without a generation */
#define MYTAG(i) (i)
#else
#define MYTAG(i) ((gen[i]%4)*8+(i))
#endif
#else
#define MYTAG(i) (i)
#endif

/* What only the model knows: the values published, received, given back; each sender's
 * last value taken; whether the ring is full; who looks, and who has had a moment of
 * fullness or emptiness since he began to. Value 0 is none, HALF is half of one. */
#define VALUE(s, i) (1+(s)*VALUES+(i))
#define SENDEROF(v) (((v)-1)/VALUES)
#define BIT(v) (1<<((v)-1))
#define HALF 255
short sent, got, again;
byte last[SENDERS];
bit isfull, saidclosed;
byte looks, moment;
byte sending = SENDERS;
#ifdef REALTIME
short returned, before[SENDERS*VALUES]; /* published and returned before that Send began */
#endif

#define ANY1(st) (STATE(slot[0])==(st))
#if N == 1
#define ANY(st) (ANY1(st))
#elif N == 2
#define ANY(st) (ANY1(st) || STATE(slot[1])==(st))
#else
#define ANY(st) (ANY1(st) || STATE(slot[1])==(st) || STATE(slot[2])==(st) || STATE(slot[3])==(st))
#endif

/* The properties. Each is a name that is always false, so that what spin prints of a
 * violated assertion begins with it. */
hidden byte capacity, tail_hint, head_hint, tail_set_back, head_set_back, well_formed, holes_counted, owned;
hidden byte whole, once, order, real_time, drained, full_exact, empty_exact, progress;
#define MUST(property, holds) assert(property || (holds))

hidden byte mi, mf, ml, mn, me;
hidden short mw, w; /* w is the word just loaded */

/* measure looks at the whole ring after a step that changed it, and checks what must
 * hold in every state. */
inline measure() {
	mi = 0; mn = 0; mf = ADD(POS(slot[0]), STATE(slot[0])==FREE || STATE(slot[0])==SEALED -> 0 : N); ml = POS(slot[0]);
	do
	:: mi < N ->
		mw = slot[mi];
		me = ADD(POS(mw), STATE(mw)==FREE || STATE(mw)==SEALED -> 0 : N);
		if
		:: DIST(me, mf) < 0 -> mf = me
		:: else
		fi;
		if
		:: DIST(POS(mw), ml) < 0 -> ml = POS(mw)
		:: else
		fi;
		mn = mn + (STATE(mw)==WRITING || STATE(mw)==FULL || STATE(mw)==READING);
		mi++
	:: else -> break
	od;
	MUST(capacity, mn <= C); /* never more than the capacity */
	MUST(tail_hint, DIST(mf, tail) >= 0); /* the tail hint is not ahead */
	MUST(head_hint, DIST(ml, head) >= 0); /* the head hint is not ahead */
	/* The frontier less the holes at the top. */
	mi = 0;
	do
	:: mi < N && SLOT(ADD(mf, -1)) == WORD(ADD(mf, -1), 0, HOLE) -> mf = ADD(mf, -1); mi++
	:: else -> break
	od;
	mw = SLOT(ADD(mf, -C));
	isfull = POS(mw) == ADD(mf, -C) && (STATE(mw)==WRITING || STATE(mw)==FULL || STATE(mw)==READING);
#if RECEIVERS == 0
	/* Nothing is freed out of order, so that it is the number that counts. */
	isfull = isfull && mn == C;
#elif defined(COUNTFULL)
	isfull = isfull && (mn == C || ANY(WRITING) || ANY(READING));
#endif
#ifndef INEXACT
	if
	:: isfull -> moment = moment | (looks & ((1<<SENDERS)-1))
	:: else
	fi;
	if
	:: !ANY(FULL) -> moment = moment | (looks & ~((1<<SENDERS)-1))
	:: else
	fi
#endif
}

/* A look of participant i begins; isnow: what it looks for is so. */
#ifdef INEXACT
#define BEGIN(i, isnow)
#define END(i)
#define HAD(i) true
#else
#define BEGIN(i, isnow) looks = looks | (1<<(i)); moment = (isnow -> moment | (1<<(i)) : moment & ~(1<<(i)))
#define END(i) looks = looks & ~(1<<(i)); moment = moment & ~(1<<(i))
#define HAD(i) ((moment & (1<<(i))) != 0)
#endif

#define CASOK(p, from) (SLOT(p) == (from))
#define PUT(p, w) SLOT(p) = (w); measure()
#define STEP(a, ...) :: d_step { pc == a -> __VA_ARGS__ }
#ifdef STRAIGHT
#define DIED(i) if :: (i) < SENDERS -> died = MYTAG(i) :: else fi;
#define DEADTAG(i) ((i) < SENDERS -> died : MYTAG(i))
#else
#define DIED(i)
#define DEADTAG(i) MYTAG(i)
#endif
#define CRASH(i) :: d_step { deaths < CRASHES && pc != DEAD && pc != DONE -> deaths++; DIED(i) dead = dead | (1<<(i)); END(i); pc = DEAD; p = 0; q = 0; k = 0; h = 0; hs = 0; x = 0 }

#define DEAD 98
#define DONE 99

/* The value x is taken: in the order of its sender, unless it was given back before. */
inline taken(x) {
	MUST(whole, x != 0 && x != HALF && (sent & BIT(x)));
	MUST(once, !(got & BIT(x)));
	MUST(order, x > last[SENDEROF(x)] || (again & BIT(x)));
	if
	:: x > last[SENDEROF(x)] -> last[SENDEROF(x)] = x
	:: else
	fi;
#ifdef REALTIME
	/* What was sent before this Send began has been taken, or was given back. */
	mi = 0;
	do
	:: mi < N ->
		MUST(real_time, !(STATE(slot[mi]) == FULL && val[mi] != x && (before[x-1] & BIT(val[mi])) && !(again & BIT(val[mi]))));
		mi++
	:: else -> break
	od;
#endif
}

/* Senders. */
#define S_CLOSED 1
#define S_TAIL 2
#define S_HOLES 3
#define S_BACK 4
#define S_LOOK 5
#define S_CAPACITY 6
#define S_DROP 7
#define S_DROPPED 8
#define S_STILL1 9
#define S_STILL2 10
#define S_CLAIM 11
#define S_HOLEUSED 12
#define S_TAILLOAD 13
#define S_TAILSTORE 14
#define S_WRITE 15
#define S_WRITE2 16
#define S_PUBLISH 17
#define S_HINT 18
#define S_GIVEUP 19
#define S_HOLEMADE 20
#define S_BLOCKED 21
#define S_LATEHOLE 22
#define S_LATEWRITE 23
#define S_WINDOW 24
#define S_WCLOSED 25
#define S_WWRITE 26
#define S_WPUBLISH 27
#define S_WHINT 28
#define S_WSHUT 29
#define S_LANEHOLES 72
#define S_LANECLAIM 73
#define S_LANEWRITE 74
#define S_LANEPUBLISH 75
#define S_LANEHINT 76
#define S_LANECAS 77
#define R_LANECLAIM 78
#define R_LANEREAD 79
#define R_LANEFREE 80
#define R_LANEHINT 81
#define R_LANECAS 82

/* after sending: the next value, or none */
#define NEXTVALUE i++; hs = 0; k = 0; q = 0; h = 0; p = 0; pc = S_CLOSED; END(id); if :: i == VALUES -> pc = DONE; sending--; gone = gone | (1<<id) :: else fi

/* a single role is free as soon as its holder is dead */
#ifdef ONESENDER
#define SINGLE_S true
#else
#define SINGLE_S false
#endif
#ifdef ONERECEIVER
#define SINGLE_R true
#else
#define SINGLE_R false
#endif
#ifdef ONESENDER
#define CLAIMABLE pc = S_WRITE; own = p
#define RETRY pc = S_LOOK
#else
#define CLAIMABLE pc = S_CLAIM
#define RETRY pc = S_HOLES
#endif

/* what is at the position C before p says whether p may be claimed */
#define CAPACITYWORD(wq) if \
	:: POS(wq) == q && STATE(wq) == HOLE -> pc = S_DROP \
	:: else -> MUST(well_formed, POS(wq) == q && STATE(wq) != FREE && STATE(wq) != SEALED); pc = STILL \
	fi
#if defined(ONESENDER) || defined(M_NOSTILL)
#define STILL S_BLOCKED
#else
#define STILL S_STILL1
#endif

proctype sender(byte id) {
	byte pc = S_CLOSED, i, p, q, k, h;
	bit hs; /* a hole was seen at h */
	byte x; /* not used */
#ifdef ROUNDS
	byte rounds;
#endif
#if defined(ONESENDER) || defined(LANE)
	byte own = START; /* tx */
#endif

	do
	/* sendBegin: h.ctl.closed.Load() */
	STEP(S_CLOSED,
#ifdef REALTIME
		before[id*VALUES+i] = returned;
#endif
		if
		:: closed -> i = VALUES; pc = DONE; sending--; gone = gone | (1<<id)
#ifdef ONESENDER
		:: else -> p = own; BEGIN(id, isfull); pc = S_LOOK
#else
		:: else -> pc = S_TAIL
#endif
		fi)
#ifdef STRAIGHT
	/* Send: straight; txTake, sent, txDone */
	:: d_step { pc == S_CLOSED && SLOT(own) == WORD(own, 0, FREE) -> p = own; pc = S_WINDOW }
#ifdef M_NOWINDOW
	STEP(S_WINDOW, pc = S_WCLOSED)
#else
	STEP(S_WINDOW, window = WORD(p, MYTAG(id), WRITING); pc = S_WCLOSED)
#endif
	STEP(S_WCLOSED, hs = closed; pc = (closed -> S_WSHUT : S_WWRITE))
	STEP(S_WWRITE, val[p%N] = VALUE(id, i); pc = S_WPUBLISH)
	STEP(S_WPUBLISH, MUST(drained, !saidclosed); MUST(owned, CASOK(p, WORD(p, 0, FREE)));
		sent = sent | BIT(VALUE(id, i)); PUT(p, WORD(p, 0, FULL)); own = ADD(p, 1);
		pc = ((p & HINTMASK) == HINTMASK -> S_WHINT : S_WSHUT))
	STEP(S_WHINT, tail = own; measure(); pc = S_WSHUT)
	STEP(S_WSHUT, window = 0;
		if
		:: hs -> i = VALUES; pc = DONE; sending--; gone = gone | (1<<id); p = 0; hs = 0
		:: else -> NEXTVALUE
		fi)
#endif
#ifdef LANE
	/* Send in the lane: txTake, sent, tell */
	:: d_step { pc == S_CLOSED && SLOT(own) == WORD(own, 0, FREE) && !closed -> p = own;
#ifdef REALTIME
		before[id*VALUES+i] = returned;
#endif
		pc = S_LANEHOLES }
	STEP(S_LANEHOLES,
		if
		:: holes == 0 -> pc = S_LANECLAIM
		:: else -> p = 0; pc = S_CLOSED
		fi)
	STEP(S_LANECLAIM,
		if
		:: CASOK(p, WORD(p, 0, FREE)) -> PUT(p, WORD(p, MYTAG(id), WRITING)); pc = S_LANEWRITE
		:: else -> p = 0; pc = S_CLOSED
		fi)
	STEP(S_LANEWRITE, val[p%N] = VALUE(id, i); pc = S_LANEPUBLISH)
	:: atomic { pc == S_LANEPUBLISH ->
		d_step {
		MUST(drained, !saidclosed); MUST(owned, CASOK(p, WORD(p, MYTAG(id), WRITING)));
		sent = sent | BIT(VALUE(id, i)); PUT(p, WORD(p, 0, FULL));
#ifdef REALTIME
		returned = returned | BIT(VALUE(id, i));
#endif
		own = ADD(p, 1) };
		if
		:: d_step { NEXTVALUE }
		:: pc = S_LANEHINT /* now and then */
		fi }
	/* SendFunc that fails: its position is given up, and the lane stays there */
	:: d_step { pc == S_LANEPUBLISH && aborts < ABORTS -> aborts++; holes++; pc = S_HOLEMADE }
	STEP(S_LANEHINT, h = tail;
		if
		:: DIST(own, h) > 0 -> pc = S_LANECAS
		:: else -> NEXTVALUE
		fi)
	STEP(S_LANECAS,
		if
		:: tail == h -> tail = own; measure()
		:: else
		fi;
		NEXTVALUE)
#endif
#ifndef ONESENDER
	/* claimSend */
	STEP(S_TAIL, p = tail;
#ifdef ROUNDS
		rounds = 0;
#endif
		 BEGIN(id, isfull);
#ifdef M_TAILAHEAD
		/* a mutant: the tail is brought up before the claim */
		tail = ADD(tail, 1); measure();
#endif
		pc = S_HOLES)
	STEP(S_HOLES, hs = 0; k = 0;
#ifdef ROUNDS
		/* A claim ends when nobody is in its way: far below the limit of the code. */
		rounds++; MUST(progress, rounds < ROUNDS);
#endif
#ifdef M_NOLOOKBACK
		pc = S_LOOK
#else
		pc = (holes != 0 -> S_BACK : S_LOOK)
#endif
		)
	/* lookBack */
	STEP(S_BACK, q = ADD(p, -1);
		if
		:: SLOT(q) == WORD(q, 0, HOLE) -> p = q; k++;
#ifdef M_HOLEABOVE
			/* a mutant: a hole is used again without a look at what is above it */
			hs = 1; h = p; pc = S_CLAIM
#else
			if
			:: k == N -> pc = S_LOOK; k = 0
			:: else
			fi
#endif
		:: else -> pc = S_LOOK; k = 0
		fi;
		q = 0)
#endif
	/* look */
	STEP(S_LOOK, w = SLOT(p);
		if
		:: DIST(POS(w), p) > 0 -> p = ADD(POS(w), 1-N); hs = 0
		:: DIST(POS(w), p) == 0 && STATE(w) == SEALED -> END(id); i = VALUES; pc = DONE; sending--; gone = gone | (1<<id); p = 0; hs = 0; h = 0; q = 0
		:: DIST(POS(w), p) == 0 && STATE(w) == HOLE ->
			if
			:: !hs -> hs = 1; h = p
			:: else
			fi;
			p = ADD(p, 1)
		:: DIST(POS(w), p) == 0 && STATE(w) != FREE && STATE(w) != SEALED && STATE(w) != HOLE -> p = ADD(p, 1); hs = 0
		:: else ->
			if
			:: hs -> p = h; CLAIMABLE
			:: !hs && DIST(POS(w), p) == 0 && (N == C
#ifdef M_NOCAPACITY
				|| true
#endif
				) -> CLAIMABLE
			:: !hs && DIST(POS(w), p) == 0 && N != C
#ifdef M_NOCAPACITY
				&& false
#endif
				-> q = ADD(p, -C); pc = S_CAPACITY
			:: else -> q = ADD(p, -N);
#ifdef M_CLAIMBLIND
				pc = S_CLAIM
#else
				CAPACITYWORD(w)
#endif
			fi
		fi;
		if
		:: !hs -> h = 0
		:: else
		fi)
	STEP(S_CAPACITY, w = SLOT(q);
		if
		:: DIST(POS(w), q) > 0 -> q = 0; CLAIMABLE
		:: else -> CAPACITYWORD(w)
		fi)
	/* dropHole */
	STEP(S_DROP,
		if
		:: CASOK(q, WORD(q, 0, HOLE)) -> PUT(q, WORD(ADD(q, N), 0, FREE)); pc = S_DROPPED
		:: else -> pc = S_LOOK
		fi; q = 0)
	STEP(S_DROPPED, MUST(holes_counted, holes > 0); holes--; pc = S_LOOK)
#ifndef ONESENDER
	/* stillFull */
	STEP(S_STILL1, q = ADD(p, -1); pc = (SLOT(q) == WORD(q, 0, HOLE) -> S_HOLES : S_STILL2); q = 0)
	STEP(S_STILL2, q = ADD(p, -C); w = SLOT(q); pc = (POS(w) == q && STATE(w) != HOLE -> S_BLOCKED : S_HOLES); q = 0)
	/* claimSend: CompareAndSwap(from, WRITING) */
	STEP(S_CLAIM,
		if
#if defined(M_CLAIMSTORE) || defined(M_CLAIMBLIND)
		:: true ->
#else
		:: CASOK(p, (hs -> WORD(p, 0, HOLE) : WORD(p, 0, FREE))) ->
#endif
			PUT(p, WORD(p, MYTAG(id), WRITING));
			pc = (hs -> S_HOLEUSED : S_TAILLOAD); hs = 0; h = 0; END(id);
#ifdef M_TAILAFTER
			if
			:: pc == S_TAILLOAD -> pc = S_WRITE
			:: else
			fi
#endif
#if !(defined(M_CLAIMSTORE) || defined(M_CLAIMBLIND))
		:: else -> hs = 0; h = 0; RETRY
#endif
		fi; q = 0)
	STEP(S_HOLEUSED, MUST(holes_counted, holes > 0); holes--; pc = S_WRITE)
	STEP(S_TAILLOAD, pc = (DIST(ADD(p, 1), tail) > 0 -> S_TAILSTORE : S_WRITE);
#ifdef M_TAILAFTER
		if
		:: pc == S_WRITE -> NEXTVALUE
		:: else
		fi
#endif
		)
	STEP(S_TAILSTORE, MUST(tail_set_back, DIST(tail, ADD(p, 1)) < N); /* by less than a lap */
		tail = ADD(p, 1); measure();
#ifdef M_TAILAFTER
		NEXTVALUE
#else
		pc = S_WRITE
#endif
		)
#endif
	/* put */
	STEP(S_WRITE,
#ifdef M_EARLYPUBLISH
		pc = S_PUBLISH
#else
#ifdef HALVES
		val[p%N] = HALF; pc = S_WRITE2
#else
		val[p%N] = VALUE(id, i); pc = S_PUBLISH
#endif
#endif
		)
	STEP(S_WRITE2, val[p%N] = VALUE(id, i); pc = S_PUBLISH)
	/* publish */
	STEP(S_PUBLISH,
		if
#ifdef ONESENDER
#ifdef M_PLAINPUBLISH
		:: true ->
#else
		:: CASOK(p, WORD(p, 0, FREE)) ->
#endif
			MUST(drained, !saidclosed);
			sent = sent | BIT(VALUE(id, i)); PUT(p, WORD(p, 0, FULL)); own = ADD(p, 1);
			if
			:: (p & HINTMASK) == HINTMASK -> pc = S_HINT
			:: else -> NEXTVALUE
			fi
#ifndef M_PLAINPUBLISH
		:: else -> MUST(owned, SLOT(p) == WORD(p, 0, SEALED)); i = VALUES; pc = DONE; sending--; gone = gone | (1<<id); p = 0; END(id)
#endif
#else
		:: CASOK(p, WORD(p, MYTAG(id), WRITING)) ->
			MUST(drained, !saidclosed);
			sent = sent | BIT(VALUE(id, i)); PUT(p, WORD(p, 0, FULL));
#ifdef REALTIME
			returned = returned | BIT(VALUE(id, i));
#endif
#ifdef LANE
			own = tail;
#endif
#if defined(M_EARLYPUBLISH)
			pc = S_LATEWRITE
#elif defined(M_TAILAFTER)
			pc = S_TAILLOAD
#else
			NEXTVALUE
#endif
		:: else -> MUST(owned, false)
#endif
		fi)
	STEP(S_LATEWRITE, val[p%N] = VALUE(id, i); NEXTVALUE)
#ifdef ONESENDER
	STEP(S_HINT, tail = own; measure(); NEXTVALUE)
	/* giveUp: nothing to do */
	:: d_step { pc == S_PUBLISH && aborts < ABORTS -> aborts++; NEXTVALUE }
#else
	/* giveUp: makeHole */
	:: d_step { pc == S_PUBLISH && aborts < ABORTS -> aborts++;
#if N == 1
		MUST(owned, CASOK(p, WORD(p, MYTAG(id), WRITING))); PUT(p, WORD(ADD(p, 1), 0, FREE)); NEXTVALUE
#elif defined(M_HOLEFREE)
		/* a mutant, and the first design: what is given up is free at once */
		MUST(owned, CASOK(p, WORD(p, MYTAG(id), WRITING))); PUT(p, WORD(ADD(p, N), 0, FREE)); NEXTVALUE
#elif defined(M_HOLESAFTER)
		/* a mutant: holes are counted after they are there */
		MUST(owned, CASOK(p, WORD(p, MYTAG(id), WRITING))); PUT(p, WORD(p, 0, HOLE)); pc = S_LATEHOLE
#else
		holes++; pc = S_HOLEMADE
#endif
		}
	STEP(S_HOLEMADE, MUST(owned, CASOK(p, WORD(p, MYTAG(id), WRITING))); PUT(p, WORD(p, 0, HOLE)); NEXTVALUE)
	STEP(S_LATEHOLE, holes++; NEXTVALUE)
#endif
	/* blocked: there was a moment at which the ring was full */
#ifdef TRYSEND
	STEP(S_BLOCKED, MUST(full_exact, HAD(id)); NEXTVALUE)
#else
	:: d_step { pc == S_BLOCKED && (closed || !isfull) ->
		MUST(full_exact, HAD(id)); END(id); q = 0; p = 0;
		if
		:: closed -> i = VALUES; pc = DONE; sending--; gone = gone | (1<<id)
#ifdef ONESENDER
		:: else -> p = own; BEGIN(id, isfull); pc = S_LOOK
#else
		:: else -> pc = S_TAIL
#endif
		fi }
#endif
#if CRASHES
	CRASH(id)
	/* The next to attach takes the role, or the entry when that is recovered. */
	:: d_step { pc == DEAD && (SINGLE_S || (dead & (1<<id)) == 0) ->
		gen[id]++;
#if defined(ONESENDER) || defined(LANE)
		own = tail;
#endif
		NEXTVALUE }
#endif
	:: pc == DONE -> break
	od
}

/* Receivers. */
#define R_HEAD 31
#define R_LOOK 32
#define R_CLOSED 33
#define R_SEAL 34
#define R_HOLECLOSED 35
#define R_DROP 36
#define R_DROPPED 37
#define R_SECOND 38
#define R_CLAIM 39
#define R_READ 40
#define R_FREE 41
#define R_HEADLOAD 42
#define R_ADVANCE 43
#define R_HEADCAS 44
#define R_BACKCOUNT 45
#define R_BACK 46
#define R_HINT 47
#define R_BLOCKED 48
#define R_BACKS 51
#define R_WALKHEAD 52
#define R_WALK 53
#define R_BACKS2 54
#define R_HEADEARLY 55
#define R_LATECOUNT 56
#define R_EMPTY 57
#define R_WINDOW 58
#ifdef STRAIGHT
#define INWINDOW (window != 0)
#else
#define INWINDOW false
#endif

#ifdef ONERECEIVER
#define TAKE own = (passed && DIST(first, p) < 0 -> first : p); pc = R_READ
#else
#define TAKE pc = R_CLAIM
#endif
/* claimRecv was blocked */
#ifdef TRYONE
#define ISTRY(id) (id == PEERS-1)
#else
#define ISTRY(id) true
#endif
#if defined(TRYRECV) && !defined(M_NOTAKETWICE)
#define NOTHING if :: !ISTRY(id) -> pc = R_BLOCKED :: ISTRY(id) && passed -> pc = R_BACKS; round = 0 :: else -> pc = R_EMPTY fi; passed = 0; p = 0; first = 0; q = 0
#elif defined(TRYRECV)
#define NOTHING pc = R_EMPTY; passed = 0; p = 0; first = 0; q = 0
#else
#define NOTHING pc = R_BLOCKED; passed = 0; p = 0; first = 0; q = 0
#endif
#ifdef LANE
#ifdef M_LANEON
#define SLOWTOOK(p) own = ADD(p, 1) /* a mutant: goes on behind it whatever lies below */
#define LANEHEAD
#else
#define SLOWTOOK(p)
#define LANEHEAD own = head
#endif
#else
#define SLOWTOOK(p)
#define LANEHEAD
#endif
#define NEXTRECV pc = R_HEAD; p = 0; first = 0; q = 0; h = 0; k = 0; passed = 0; x = 0; END(id)
/* closed and drained: for ever */
#define SAIDCLOSED saidclosed = 1; MUST(drained, got == sent); pc = DONE; p = 0; first = 0; q = 0; passed = 0; END(id)
/* CLEARSEEN forgets what nothingToTake has seen, so that it adds no states. */
#if N == 1
#define CLEARSEEN seen[0] = 0
#elif N == 2
#define CLEARSEEN seen[0] = 0; seen[1] = 0
#else
#define CLEARSEEN seen[0] = 0; seen[1] = 0; seen[2] = 0; seen[3] = 0
#endif
#define SKIPFREE if :: DIST(ADD(POS(w), 1-N-C), ADD(p, 1)) > 0 -> p = ADD(POS(w), 1-N-C) :: else -> p = ADD(p, 1) fi

proctype receiver(byte id) {
	byte pc = R_HEAD, p, q, first, k, h;
	bit passed, hs; /* hs is not used */
	byte x;
#if defined(ONERECEIVER) || defined(LANE)
	byte own = START; /* rx */
#endif
#ifdef TRYRECV
	short seen[N];
	byte lastk, b0, lastb;
	bit round, same;
#endif

	do
#ifdef LANE
	/* Recv in the lane: rxTake, received, tell */
	:: d_step { pc == R_HEAD && SLOT(own) == WORD(own, 0, FULL) -> p = own; pc = R_LANECLAIM }
	STEP(R_LANECLAIM,
		if
		:: CASOK(p, WORD(p, 0, FULL)) -> taken(val[p%N]); PUT(p, WORD(p, MYTAG(id), READING)); pc = R_LANEREAD
		:: else -> p = 0; pc = R_HEAD
		fi)
	STEP(R_LANEREAD, x = val[p%N]; MUST(whole, x != 0 && x != HALF); END(id); pc = R_LANEFREE)
	:: atomic { pc == R_LANEFREE ->
		d_step {
		MUST(owned, CASOK(p, WORD(p, MYTAG(id), READING)));
		MUST(whole, val[p%N] == x); MUST(once, !(got & BIT(x))); got = got | BIT(x); x = 0;
		PUT(p, WORD(ADD(p, N), 0, FREE)); own = ADD(p, 1) };
		if
		:: d_step { NEXTRECV }
		:: pc = R_LANEHINT
		fi }
	/* RecvFunc that fails: the value is given back, and the lane stays there */
	:: d_step { pc == R_LANEFREE && given < BACKS -> given++; backs++; pc = R_BACK }
	STEP(R_LANEHINT, h = head;
		if
		:: DIST(own, h) > 0 -> pc = R_LANECAS
		:: else -> NEXTRECV
		fi)
	STEP(R_LANECAS,
		if
#ifdef M_LANESTORE
		:: true -> MUST(head_set_back, DIST(own, head) > 0);
#else
		:: head == h ->
#endif
			head = own; measure()
#ifndef M_LANESTORE
		:: else
#endif
		fi;
		NEXTRECV)
#endif
	/* claimRecv */
	STEP(R_HEAD,
#ifdef ONERECEIVER
		p = own;
#else
		p = head;
#endif
		first = p;
		if
		:: looks & (1<<id)
		:: else -> BEGIN(id, !ANY(FULL))
		fi;
		pc = R_LOOK)
	STEP(R_LOOK, w = SLOT(p);
		if
		:: DIST(POS(w), p) > 0 -> SKIPFREE
		:: DIST(POS(w), p) < 0 -> MUST(well_formed, passed && DIST(p, first) >= N); NOTHING
		:: else ->
			if
			:: STATE(w) == SEALED -> SAIDCLOSED
			:: STATE(w) == FREE ->
				if
				:: passed ->
#ifdef M_SEALINHAND
					pc = R_CLOSED
#else
					NOTHING
#endif
				:: else -> pc = R_CLOSED
				fi
			:: STATE(w) == HOLE -> pc = (passed -> R_HOLECLOSED : R_DROP)
			:: STATE(w) == WRITING || STATE(w) == READING ->
#ifdef M_NOSTEPPAST
				NOTHING
#else
				if
				:: !passed -> passed = 1; first = p
				:: else
				fi;
				p = ADD(p, 1)
#endif
			:: STATE(w) == FULL ->
#ifdef M_NOSECOND
				TAKE
#else
				if
				:: passed ->
					q = first;
					if
					:: DIST(p, first) >= C -> q = ADD(p, 1-C)
					:: else
					fi;
					if
					:: q == p -> q = 0; TAKE
					:: else -> pc = R_SECOND
					fi
				:: else -> TAKE
				fi
#endif
			fi
		fi)
	STEP(R_CLOSED,
		if
		:: closed ->
#ifdef M_NOSEAL
			SAIDCLOSED
#else
#ifdef STRAIGHT
			pc = R_WINDOW
#else
			pc = R_SEAL
#endif
#endif
		:: else -> NOTHING
		fi)
#ifdef STRAIGHT
	/* inWindow */
	STEP(R_WINDOW,
		if
		:: window == 0 -> pc = R_SEAL
		:: else -> NOTHING
		fi)
#endif
	STEP(R_SEAL,
		if
		:: CASOK(p, WORD(p, 0, FREE)) ->
#ifndef M_SEALINHAND
			MUST(drained, !ANY(FULL) && !ANY(WRITING) && !ANY(READING));
#endif
			PUT(p, WORD(p, 0, SEALED)); SAIDCLOSED
		:: else -> pc = R_LOOK
		fi)
	STEP(R_HOLECLOSED,
		if
		:: closed -> pc = R_DROP
		:: else -> p = ADD(p, 1); pc = R_LOOK
		fi)
	/* dropHole */
	STEP(R_DROP,
		if
		:: CASOK(p, WORD(p, 0, HOLE)) -> PUT(p, WORD(ADD(p, N), 0, FREE)); pc = R_DROPPED
		:: else -> pc = R_LOOK
		fi)
	STEP(R_DROPPED, MUST(holes_counted, holes > 0); holes--; pc = R_LOOK)
	/* lowestFull */
	STEP(R_SECOND,
		if
		:: SLOT(q) == WORD(q, 0, FULL) -> p = q; q = 0; TAKE
		:: else -> q = ADD(q, 1);
			if
			:: q == p -> q = 0; TAKE
			:: else
			fi
		fi)
#ifndef ONERECEIVER
	/* claimRecv: CompareAndSwap(w, READING) */
	STEP(R_CLAIM,
		if
		:: CASOK(p, WORD(p, 0, FULL)) ->
			taken(val[p%N]);
			PUT(p, WORD(p, MYTAG(id), READING)); END(id); passed = 0; first = 0; pc = R_READ
		:: else -> pc = R_LOOK
		fi)
#endif
	/* get: the value is copied, or used where it lies */
	STEP(R_READ, x = val[p%N]; MUST(whole, x != 0 && x != HALF);
#ifdef M_HEADAHEAD
		/* a mutant: the head is brought up before the free */
		if :: head == p -> head = ADD(p, 1); measure() :: else fi;
#endif
		END(id); passed = 0; first = 0; pc = R_FREE)
	/* free */
	STEP(R_FREE,
#ifdef ONERECEIVER
		MUST(owned, CASOK(p, WORD(p, 0, FULL)));
		taken(x);
		MUST(whole, val[p%N] == x); got = got | BIT(x); x = 0;
		PUT(p, WORD(ADD(p, N), 0, FREE));
		if
		:: own == p -> own = ADD(p, 1)
		:: else
		fi;
		if
		:: (p & HINTMASK) == HINTMASK -> pc = R_HINT
		:: else -> NEXTRECV
		fi)
	STEP(R_HINT, head = own; measure(); NEXTRECV)
	/* giveBack: nothing to do */
	:: d_step { pc == R_FREE && given < BACKS -> given++; NEXTRECV }
#else
		MUST(owned, CASOK(p, WORD(p, MYTAG(id), READING)));
		MUST(whole, val[p%N] == x); MUST(once, !(got & BIT(x))); got = got | BIT(x); x = 0;
		PUT(p, WORD(ADD(p, N), 0, FREE));
		SLOWTOOK(p);
		p = 0; pc = R_HEADLOAD)
	/* advanceHead */
	STEP(R_HEADLOAD, h = head; p = h; k = 0; pc = R_ADVANCE)
	STEP(R_ADVANCE, w = SLOT(p);
		if
		:: DIST(POS(w), p) <= 0 -> k = N
		:: else -> p = ADD(p, 1); k++
		fi;
		if
		:: k == N && p != h -> pc = R_HEADCAS; k = 0
		:: k == N && p == h -> LANEHEAD; NEXTRECV
		:: else
		fi)
	STEP(R_HEADCAS,
		if
#ifdef M_HEADSTORE
		:: true ->
#else
		:: head == h ->
#endif
			MUST(head_set_back, DIST(p, head) > 0);
			head = p; measure()
#ifndef M_HEADSTORE
		:: else
#endif
		fi; LANEHEAD; NEXTRECV)
	/* giveBack */
	:: d_step { pc == R_FREE && given < BACKS -> given++;
#ifdef M_BACKSAFTER
		pc = R_BACK
#else
		backs++; pc = R_BACK
#endif
		}
	STEP(R_BACK, MUST(owned, CASOK(p, WORD(p, MYTAG(id), READING))); again = again | BIT(x);
		PUT(p, WORD(p, 0, FULL));
#ifdef M_BACKSAFTER
		pc = R_LATECOUNT)
	STEP(R_LATECOUNT, backs++; NEXTRECV)
#else
		NEXTRECV)
#endif
#endif
#ifdef TRYRECV
	/* nothingToTake */
	STEP(R_BACKS, b0 = backs; pc = R_WALKHEAD)
	STEP(R_WALKHEAD,
#ifdef ONERECEIVER
		p = own;
#else
		p = head;
#endif
		k = 0; same = 1; pc = R_WALK)
	STEP(R_WALK, w = SLOT(p);
		if
		:: DIST(POS(w), p) > 0 -> SKIPFREE
		:: DIST(POS(w), p) == 0 && STATE(w) == FULL -> /* found */
			pc = R_HEAD; p = 0; k = 0; h = 0; b0 = 0; lastb = 0; lastk = 0; round = 0; same = 0; k = 0; CLEARSEEN
		:: DIST(POS(w), p) == 0 && (STATE(w) == WRITING || STATE(w) == READING || STATE(w) == HOLE) ->
			same = same && k < N && seen[k%N] == w; seen[k%N] = w; k++;
			p = ADD(p, 1); h = p
		:: else ->
			if
#ifdef M_ONEINHAND
			/* a mutant: also if the one in hand is not the last, as the code had it */
			:: k <= 1 -> pc = R_EMPTY
			:: k > 1 && round
#else
			:: k == 0 || k == 1 && p == h -> pc = R_EMPTY
			:: !(k == 0 || k == 1 && p == h) && round
#endif
				  && same && k == lastk && b0 == lastb -> pc = R_BACKS2
			:: else ->
#ifdef M_TAKEONCE
				pc = R_EMPTY
#else
				pc = R_BACKS
#endif
			fi;
			round = 1; lastk = k; lastb = b0; p = 0; k = 0; h = 0; same = 0
		fi)
	STEP(R_BACKS2, pc = (backs == b0 -> R_EMPTY : R_BACKS))
	/* ErrEmpty: there was a moment at which there was nothing to take */
	STEP(R_EMPTY, MUST(empty_exact, HAD(id)); NEXTRECV; b0 = 0; lastb = 0; lastk = 0; round = 0; same = 0; CLEARSEEN)
#endif
	/* blocked: until canRecv */
	:: d_step { pc == R_BLOCKED && (ANY(FULL) || (closed && !INWINDOW || ANY(SEALED)) && !ANY(WRITING) && !ANY(READING)) -> NEXTRECV }
#if CRASHES
	CRASH(id)
	:: d_step { pc == DEAD && (SINGLE_R || (dead & (1<<id)) == 0) ->
		gen[id]++;
#if defined(ONERECEIVER) || defined(LANE)
		own = head;
#endif
#ifdef TRYRECV
		b0 = 0; lastb = 0; lastk = 0; round = 0; same = 0; CLEARSEEN;
#endif
		NEXTRECV }
#endif
	:: pc == DONE -> break
	od
}

/* Close, after the last Send or at any time. */
proctype closer() {
#ifdef EARLYCLOSE
	closed = 1
#else
	atomic { sending == 0 -> closed = 1 }
#endif
}

#if CRASHES
#define V_IDLE 61
#define V_LOAD 62
#define V_HOLECOUNT 63
#define V_HOLE 64
#define V_UNCOUNT 65
#define V_BACKCOUNT 66
#define V_BACK 67
#define V_UNUSED 68
#define V_LATEHOLE 69
#define V_WINDOW 70

#define NEXTSLOT rw = 0; j++; pc = V_LOAD; if :: j == N -> pc = V_UNUSED; j = 0 :: else fi

/* recoverTag, by whoever has the entry's lock (clear), or by one who has seen the tag and
 * that the owner is dead (checkOwner), and is late. */
proctype recoverer(bit locked) {
	byte pc = V_IDLE, j, t, who;
	short rw;

end:	do
	:: d_step { pc == V_IDLE && dead != 0 ->
		who = 0;
		do
		:: (dead & (1<<who)) == 0 -> who++
		:: else -> break
		od;
		t = DEADTAG(who); j = 0;
#if defined(STRAIGHT) && !defined(M_DEADWINDOW)
		pc = (window != 0 && TAG(window) == t -> V_WINDOW : V_LOAD); rw = window }
	STEP(V_WINDOW,
		if
		:: window == rw -> window = 0
		:: else
		fi;
		pc = V_LOAD; rw = 0)
#else
		pc = V_LOAD }
#endif
	STEP(V_LOAD, rw = slot[j];
		if
		:: TAG(rw) == t && STATE(rw) == WRITING ->
#if N == 1
			pc = V_HOLE
#else
			pc = V_HOLECOUNT
#endif
		:: TAG(rw) == t && STATE(rw) == READING -> pc = V_BACKCOUNT
		:: else -> NEXTSLOT
		fi)
	/* makeHole */
	STEP(V_HOLECOUNT, holes++; pc = V_HOLE)
	STEP(V_HOLE,
		if
#ifdef M_RECOVERSTORE
		:: true ->
#else
		:: slot[j] == rw ->
#endif
#if N == 1
			PUT(j, WORD(ADD(POS(rw), 1), 0, FREE)); NEXTSLOT
#else
			PUT(j, WORD(POS(rw), 0, HOLE)); NEXTSLOT
		:: else -> pc = V_UNCOUNT
#endif
#if N == 1 
		:: else -> NEXTSLOT
#endif
		fi)
	STEP(V_UNCOUNT, MUST(holes_counted, holes > 0); holes--; NEXTSLOT)
	/* as giveBack */
	STEP(V_BACKCOUNT, backs++; pc = V_BACK)
	STEP(V_BACK,
		if
		:: slot[j] == rw -> again = again | BIT(val[j]); PUT(j, WORD(POS(rw), 0, FULL))
		:: else
		fi; NEXTSLOT)
	/* clear: the entry is unused */
	STEP(V_UNUSED,
		if
		:: locked -> dead = dead & ~(1<<who)
		:: else
		fi; pc = (locked -> V_IDLE : DONE); t = 0; who = 0)
	/* a recoverer dies; the next one starts again */
	:: d_step { reccrashes < RECCRASHES && pc != V_IDLE && pc != DONE -> reccrashes++; pc = V_IDLE; rw = 0; j = 0; t = 0; who = 0 }
	od
}
#endif

init {
	atomic {
		mi = 0;
		do
		:: mi < N -> slot[ADD(START, mi)%N] = WORD(ADD(START, mi), 0, FREE); mi++
		:: else -> break
		od;
		mi = 0;
		do
		:: mi < SENDERS -> run sender(mi); mi++
		:: else -> break
		od;
		do
		:: mi < PEERS -> run receiver(mi); mi++
		:: else -> break
		od;
		run closer();
#if CRASHES
		run recoverer(1);
		mi = 0;
		do
		:: mi < SLOWREC -> run recoverer(0); mi++
		:: else -> break
		od;
#endif
		mi = 0
	}
}
