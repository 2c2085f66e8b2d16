/* The arena of a channel of bytes, as arena.go has it: extents that senders claim with a position in hand, that are in use as
 * long as the slots say so, and of which nobody says that they are free. And who waits for room, and who wakes him.
 *
 * One step is one atomic load, store or CAS of the code on shared memory. The ring is counted on: a claim, a publish, a free of a
 * slot is a step each, as ring.pml has it of several. Positions and blocks are small numbers without end; the
 * words hold P positions. What dies does so before any of its steps.
 */

#ifndef N
#define N 2 /* slots, and the capacity */
#endif
#ifndef B
#define B 4 /* blocks */
#endif
#ifndef MOST
#define MOST 2 /* blocks of the longest message */
#endif
#ifndef P
#define P 16 /* positions that a word tells apart, a multiple of N */
#endif
#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef RECEIVERS
#define RECEIVERS 1
#endif
#ifndef VALUES
#define VALUES 2 /* messages of each sender */
#endif
#ifndef FIRST
#define FIRST VALUES /* and of the first one */
#endif
#ifndef SHORTS
#define SHORTS 0 /* at most so many messages come out so short that they go into their slots */
#endif
#ifndef ABORTS
#define ABORTS 0 /* at most so many SendFuncs fail */
#endif
#ifndef CANCELS
#define CANCELS 0 /* at most so many calls that wait are cancelled */
#endif
#ifndef BACKS
#define BACKS 0 /* at most so many RecvFuncs fail */
#endif
#ifndef CRASHES
#define CRASHES 0 /* at most so many deaths */
#endif
#ifndef VICTIMS
#define VICTIMS 255 /* of these, as bits: the senders, and then the receivers */
#endif
#ifndef SIZES
#define SIZES :: k = 0 :: k = 1 :: k = MOST /* blocks of a message; 0: it lies in its slot */
#endif
#ifdef ALLLARGE
#undef SIZES
#define SIZES :: k = 1 :: k = MOST
#endif
/* ONESENDER: the senders have the single role, one after the other: the next begins when the one before has ended or died.
 * LOOKER: beside them somebody looks for room, so many times, as is done for a descriptor.
 * PLAIN: the receiver frees by a plain store, which lies in a buffer until it reaches memory.
 * LATE: beside the one who recovers, another does, who may be late.
 * LOOKAFTER: when somebody has died every process looks after its own. */

#define FREE 0
#define WRITING 1
#define FULL 2
#define READING 3
#define HOLE 4
#define SLOTWORD(p, t, s) (((p)<<6)|((t)<<3)|(s))
#define POS(s) ((s)>>6)
#define TAG(s) (((s)>>3)&7)
#define STATE(s) ((s)&7)
#define SLOT(p) slot[(p)%N]

/* A word of the arena: lap, blocks, nobody's, position. */
#define NOBODY 32
#define EXTENT(b, k, p) ((((b)/B+1)<<9)|((k)<<6)|((p)%P))
#define CLAIMED(w, b) (((w)>>9) == (b)/B+1 -> ((w)>>6)&7 : 0)
#define NOPOS 31
#define BIT(i) (1<<(i))
#define MUST(property, holds) assert(property || (holds))

/* Shared memory. */
short slot[N];
byte blocks[N], at[N]; /* what a slot says of its message */
short words[B];
byte tail, head;
byte room; /* rvRoom of each sender */

/* Each sender's process. */
byte bells, queued, tokens;

/* What only the model knows. */
byte live[B]; /* 1 + the position whose message has the block */
byte next; /* position */
byte frontier;
byte dead, recovered, ended;
byte deaths, aborts, cancels, backs;
#if SHORTS
byte shorts;
#endif
hidden byte overlap, inside, whole, head_hint, head_set_back, tail_hint, well_formed, leak; /* properties, see MUST */
hidden byte j;
hidden short s;

#define V_AGAIN 0
#define V_CLAIMED 1
#define V_BLOCKED 2
#define V_SEALED 3

#ifdef M_WRITINGFREE
#define USED_WRITING false
#else
#define USED_WRITING STATE(s) == WRITING
#endif
#ifdef M_READINGFREE
#define USED_READING false
#else
#define USED_READING STATE(s) == READING
#endif
#ifdef M_FULLFREE
#define USED_FULL false
#else
#define USED_FULL STATE(s) == FULL
#endif
#if defined(ONESENDER) && !defined(M_FREEFREE)
#define USED_FREE STATE(s) == FREE
#else
#define USED_FREE false
#endif
#ifdef M_NOMINE
#define MINE(w) false
#else
#define MINE(w) (((w)&31) == mine)
#endif
#ifdef M_HEADBLIND
#define INUSE(w) false
#else
#define INUSE(w) (!((w)&NOBODY) && !MINE(w) && POS(s)%P == ((w)&31) && (USED_WRITING || USED_FULL || USED_READING || USED_FREE))
#endif

/* The message at p is no more. */
#define GONE(p) j = 0; \
	do \
	:: j < B -> live[j] = (live[j] == 1+(p) -> 0 : live[j]); j++ \
	:: else -> break \
	od; j = 0

#ifdef M_HEADSTORE
#define HEADSTORE true
#else
#define HEADSTORE false
#endif
#ifdef M_NOFRONT
#define NOFRONT true
#else
#define NOFRONT false
#endif

/* look, with makeWay: front, over, old and v */
inline look() {
	front = tail;
	front = (head > front -> head : front);
	v = V_AGAIN;
	do
	:: v != V_AGAIN -> break
	:: v == V_AGAIN ->
		d_step { old = words[front%B]; n = CLAIMED(old, front) };
		if
		:: n > 0 -> front = front+n
		:: n == 0 ->
			d_step {
#ifdef M_CROSS
				over = 0
#else
				over = (front%B+k > B -> B-front%B : 0)
#endif
			};
			do
			:: v != V_AGAIN -> break
			:: v == V_AGAIN ->
				d_step { hd = head;
				if
#ifndef M_NOFRONT
				:: hd > front -> v = V_SEALED
#endif
				:: hd <= front && front-hd > B -> MUST(well_formed, false)
				:: (hd <= front || NOFRONT) && front+over+k <= hd+B -> v = V_CLAIMED
				:: else -> v = V_AGAIN
				fi };
				if
				:: v != V_AGAIN
				:: v == V_AGAIN ->
					d_step { w = words[hd%B]; n = CLAIMED(w, hd) };
					if
#ifndef M_NORECHECK
					:: head != hd
					:: head == hd ->
#else
					:: true ->
#endif
						d_step {
							MUST(well_formed, hd != front && n > 0);
							s = SLOT(w&31); v = (INUSE(w) -> V_BLOCKED : V_AGAIN); s = 0 };
						if
						:: v == V_BLOCKED ->
							if
							:: head == hd
							:: head != hd -> v = V_AGAIN
							fi
						:: d_step { v == V_AGAIN && (head == hd || HEADSTORE) ->
							j = hd;
							do
							:: j < hd+n -> MUST(head_hint, hd < head || live[j%B] == 0); j++
							:: else -> break
							od;
							j = 0;
							MUST(head_set_back, hd+n > head);
							head = hd+n }
						:: v == V_AGAIN && head != hd && !HEADSTORE
						fi
					fi
				fi
			od;
			hd = 0; n = 0; w = 0;
			if
			:: v == V_SEALED ->
				v = V_AGAIN;
				front = tail;
				front = (head > front -> head : front)
			:: v != V_SEALED ->
#ifdef M_WORDLATE
				old = words[front%B]; /* a mutant: the word after head */
#endif
				d_step { tail = (front > tail -> front : tail); MUST(tail_hint, tail <= frontier) }
			fi
		fi
	od
}

#ifdef M_CLAIMSTORE
#define SAME true
#else
#define SAME (words[front%B] == old)
#endif

#define V_DONE 4

/* take: v is V_DONE, with the extent at front, or V_BLOCKED */
inline take() {
	do
	:: v == V_DONE || v == V_BLOCKED -> break
	:: else ->
		look();
#ifdef M_NOOVER
		/* a mutant: on to the next lap, and what is left over is nobody's without a word */
		front = (v == V_CLAIMED -> front+over : front); over = 0; old = words[front%B];
#endif
		if
		:: v == V_BLOCKED
		:: v == V_CLAIMED && over > 0 -> d_step {
			if
			:: SAME ->
				j = front;
				do
				:: j < front+over -> MUST(overlap, live[j%B] == 0); j++
				:: else -> break
				od;
				j = 0;
				words[front%B] = EXTENT(front, over, 0)|NOBODY;
				frontier = (front+over > frontier -> front+over : frontier)
			:: else
			fi;
			v = V_AGAIN }
		:: v == V_CLAIMED && over == 0 ->
#ifdef M_TAILAHEAD
			d_step { tail = (front+k > tail -> front+k : tail); MUST(tail_hint, tail <= frontier) }; /* a mutant */
#endif
			d_step {
				if
				:: SAME ->
					MUST(inside, front%B+k <= B);
					j = front;
					do
					:: j < front+k -> MUST(overlap, live[j%B] == 0); live[j%B] = 1+p; j++
					:: else -> break
					od;
					j = 0;
					words[front%B] = EXTENT(front, k, p);
					frontier = (front+k > frontier -> front+k : frontier);
					v = V_DONE
				:: else -> v = V_AGAIN
				fi };
			if
			:: v == V_DONE -> tail = (front+k > tail -> front+k : tail) /* raise */
			:: v == V_AGAIN
			fi
		fi;
		old = 0; over = 0
	od
}

#ifdef PLAIN
chan buffer = [2] of { byte }; /* positions whose slots the receiver has freed */

proctype memory() {
	byte q;

end:	do
	:: d_step { buffer?q -> SLOT(q) = SLOTWORD(q+N, 0, FREE); GONE(q); q = 0 }
	od
}
#endif
#if defined(PLAIN) && !defined(M_NOFENCE)
#define FENCE empty(buffer)
#else
#define FENCE true
#endif

/* wakeRoom, rvCall: all whose flag is up */
inline wakeroom() {
	if
	:: room & BIT(0) -> bells = bells | BIT(0)
	:: !(room & BIT(0))
	fi;
#if SENDERS > 1
	if
	:: room & BIT(1) -> bells = bells | BIT(1)
	:: !(room & BIT(1))
	fi;
#endif
#if SENDERS > 2
	if
	:: room & BIT(2) -> bells = bells | BIT(2)
	:: !(room & BIT(2))
	fi;
#endif
	skip
}

#define HEARD(i) :: d_step { bells & BIT(i) -> bells = bells & ~BIT(i); \
		if \
		:: queued & BIT(i) -> queued = queued & ~BIT(i); tokens = tokens | BIT(i) \
		:: else \
		fi }

/* The listener of each sender's process: wakeLocal. */
proctype listener() {
end:	do
	HEARD(0)
#if SENDERS > 1
	HEARD(1)
#endif
#if SENDERS > 2
	HEARD(2)
#endif
	od
}

/* claimSend: the lowest hole at the top, or the next position, if the one N before is free, or a hole that is dropped. */
#define ISHOLE(p) ((p) >= 0 && STATE(SLOT(p)) == HOLE && POS(SLOT(p)) == (p))
#define TOP (next-1)
#ifdef ONESENDER
#define CANCLAIM (STATE(SLOT(next)) == FREE)
#else
#define CANCLAIM (next > 0 && ISHOLE(TOP) || POS(SLOT(next)) == next || next >= N && ISHOLE(next-N))
#endif

/* dropAll, with which words of slots tell that nobody has the position in hand */
inline dropall(gone) {
	b = head;
	do
	:: true ->
		d_step { w = words[b%B]; n = CLAIMED(w, b) };
		if
		:: n > 0 ->
			d_step {
				s = SLOT(w&31);
#ifdef M_SLOTFIRST
				if
				:: !(w&NOBODY) && (w&31) == was -> n = n|8
				:: else
				fi;
#else
				if
				:: !(w&NOBODY) && POS(s)%P == (w&31) && gone -> n = n|8
				:: else
				fi;
#endif
				s = 0 };
			if
			:: d_step { n >= 8 ->
				n = n-8;
				if
				:: words[b%B] == w -> words[b%B] = w|NOBODY;
					j = 0;
					do
					:: j < B -> live[j] = (live[j] > 0 && (live[j]-1)%P == (w&31) && (j+B-b%B)%B < n -> 0 : live[j]); j++
					:: else -> break
					od;
					j = 0
				:: else
				fi }
			:: n < 8
			fi;
			b = b+n
		:: n == 0 && head > b -> b = head
		:: n == 0 && head <= b -> break
		fi
	od;
	b = 0; w = 0; n = 0
}

#if CRASHES
byte kill; /* who shall die */
#define MAYDIE(i) unless { kill & BIT(i) }
#else
#define MAYDIE(i)
#endif

#if defined(PLAIN)
#define ENTER atomic { FENCE -> queued = queued | BIT(me) } /* a lock, and after it the fence for all */
#else
#define ENTER queued = queued | BIT(me)
#endif

proctype sender(byte me) {
	byte i, p, k, front, hd, n, over, v, b, mine;
	short old, w;

#ifdef ONESENDER
	me == 0 || ((ended|dead) & BIT(me-1)); /* the role's lock */
#endif
	{
#ifdef ONESENDER
#ifndef M_NOJOINDROP
	dropall(STATE(s) == FREE);
#endif
#endif
	do
	:: i == (me == 0 -> FIRST : VALUES) -> break
	:: i < (me == 0 -> FIRST : VALUES) ->
		i++;
		d_step { CANCLAIM ->
#ifdef ONESENDER
			p = next;
#else
			p = next;
			do
			:: p > 0 && ISHOLE(p-1) -> p--
			:: else -> break
			od;
			SLOT(p) = SLOTWORD(p, me, WRITING);
			next = (p == next -> next+1 : next);
#endif
			mine = p%P };
		if
		SIZES
		fi;
		v = V_AGAIN;
		if
		:: k == 0
		:: k > 0 -> /* makeRoom */
			take();
			if
			:: v == V_DONE
			:: v == V_BLOCKED ->
#ifndef M_LATEFLAG
				room = room | BIT(me);
#endif
				do
				:: true ->
					v = V_AGAIN;
					take();
					if
					:: v == V_DONE -> break
					:: v == V_BLOCKED ->
						ENTER; /* enqueue */
						FENCE;
#ifdef M_NOLOOK
						v = V_BLOCKED;
#else
						look(); /* ready */
#endif
						front = 0; old = 0; over = 0;
#ifdef M_LATEFLAG
						room = room | BIT(me); /* a mutant */
#endif
						if
						:: v == V_BLOCKED ->
							if
							:: d_step { tokens & BIT(me) -> tokens = tokens & ~BIT(me) }
							:: d_step { cancels < CANCELS -> cancels++; queued = queued & ~BIT(me); tokens = tokens & ~BIT(me) }; break
							fi
						:: else -> /* dequeue */
							d_step { queued = queued & ~BIT(me); tokens = tokens & ~BIT(me) }
						fi
					fi
				od;
				room = room & ~BIT(me)
			fi
		fi;
#if SHORTS
		if
		:: d_step { v != V_BLOCKED && k > 0 && shorts < SHORTS -> shorts++ } -> /* intoSlot */
#ifndef M_NOSHORTDROP
			d_step { words[front%B] = words[front%B]|NOBODY; GONE(p) };
#endif
			d_step { k = 0; front = 0 };
#ifndef M_NOSHORTWAKE
			wakeroom()
#endif
		:: true
		fi;
#endif
		if
		:: v != V_BLOCKED -> /* publish */
			d_step { blocks[p%N] = k; at[p%N] = front; SLOT(p) = SLOTWORD(p, 0, FULL); front = 0; v = 0
#ifdef ONESENDER
				; next++
#endif
				}
		:: d_step { v != V_BLOCKED && aborts < ABORTS -> aborts++; v = 0 } -> /* a fill that fails */
#ifndef M_NODROP
			d_step {
				if
				:: k > 0 -> words[front%B] = words[front%B]|NOBODY; GONE(p)
				:: else
				fi };
#endif
			d_step {
#ifndef ONESENDER
				SLOT(p) = SLOTWORD(p, 0, HOLE);
				GONE(p);
#endif
				front = 0 };
#ifndef M_NOABORTWAKE
			if
			:: k > 0 -> wakeroom()
			:: k == 0
			fi
#endif
		:: d_step { v == V_BLOCKED -> v = 0;
#ifndef ONESENDER
			SLOT(p) = SLOTWORD(p, 0, HOLE);
#endif
			front = 0 } /* cancelled */
		fi;
		d_step { k = 0; p = 0; mine = 0 }
	od
	} MAYDIE(me);
	skip;
	d_step { i = 0; p = 0; k = 0; front = 0; hd = 0; n = 0; over = 0; v = 0; mine = 0; b = 0; old = 0; w = 0;
		if
#if CRASHES
		:: kill & BIT(me) -> dead = dead | BIT(me)
#endif
		:: else -> ended = ended | BIT(me)
		fi }
}

#ifdef LOOKER
/* hasRoom, for a descriptor */
proctype looker() {
	byte i, front, hd, n, over, v, mine = NOPOS;
	byte k = MOST;
	short old, w;

	do
	:: i < LOOKER -> i++;
#ifdef M_LOOKMINE
		mine = next; /* a mutant: as if for the single sender */
#endif
		look(); front = 0; over = 0; old = 0; v = 0
	:: else -> break
	od
}
#endif

#define ISFULL(i) (STATE(slot[i]) == FULL)
#if N == 2
#define ANYFULL (ISFULL(0) || ISFULL(1))
#else
#define ANYFULL (ISFULL(0) || ISFULL(1) || ISFULL(2) || ISFULL(3))
#endif
#ifdef PLAIN
#define DRAINED empty(buffer)
#else
#define DRAINED true
#endif

proctype receiver(byte me) {
	byte q, k, b;

end1:	{
end:	do
	:: d_step { ANYFULL && DRAINED -> /* claimRecv: the lowest */
		j = 0; q = 255;
		do
		:: j < N -> q = (ISFULL(j) && POS(slot[j]) < q -> POS(slot[j]) : q); j++
		:: else -> break
		od;
		j = 0;
		SLOT(q) = SLOTWORD(q, me, READING); k = blocks[q%N]; b = at[q%N] };
		d_step { /* at, and the message */
			j = b;
			do
			:: j < b+k -> MUST(whole, live[j%B] == 1+q); j++
			:: else -> break
			od;
			j = 0;
			MUST(whole, k == 0 || words[b%B] == EXTENT(b, k, q)) };
#ifdef M_EARLYRELEASE
		words[b%B] = (k > 0 -> words[b%B]|NOBODY : words[b%B]); /* a mutant: the extent says that it is free */
#endif
		if
		:: d_step { backs < BACKS -> backs++; SLOT(q) = SLOTWORD(q, 0, FULL); k = 0 }
#ifdef PLAIN
		:: buffer!q
#else
		:: d_step { SLOT(q) = SLOTWORD(q+N, 0, FREE); GONE(q) }
#endif
		fi;
#ifndef M_NOWAKE
		if
		:: k > 0 -> wakeroom()
		:: k == 0
		fi;
#endif
		d_step { q = 0; k = 0; b = 0 }
	od
	} MAYDIE(me);
	skip;
	d_step { q = 0; k = 0; b = 0; dead = dead | BIT(me) }
}

#if CRASHES
#define DIES(i) :: d_step { deaths < CRASHES && (VICTIMS & BIT(i)) && !((kill|ended) & BIT(i)) -> deaths++; kill = kill | BIT(i) }
proctype crasher() {
end:	do
	DIES(0)
	DIES(1)
	DIES(2)
	DIES(3)
	od
}

/* recoverAndWake, for each who has died */
proctype recoverer() {
	byte b, n, i, d, was, done;
	short w;
	bit freed;

end:	do
	:: d_step { (dead & ~done) != 0 ->
		do
		:: !(dead & ~done & BIT(d)) -> d++
		:: else -> break
		od;
		done = done | BIT(d) };
#ifdef M_SLOTFIRST
		d_step { was = NOPOS; i = 0; /* a mutant: which positions, and then the extents */
		do
		:: i < N -> was = (STATE(slot[i]) == WRITING && TAG(slot[i]) == d -> POS(slot[i])%P : was); i++
		:: else -> break
		od; i = 0 };
#endif
#ifndef M_NORECOVERDROP
		dropall(STATE(s) == WRITING && TAG(s) == d);
#endif
		do
		:: i < N -> d_step {
			if
			:: STATE(slot[i]) == WRITING && TAG(slot[i]) == d -> s = POS(slot[i]); slot[i] = SLOTWORD(s, 0, HOLE); GONE(s); s = 0; freed = 1
			:: STATE(slot[i]) == READING && TAG(slot[i]) == d -> slot[i] = SLOTWORD(POS(slot[i]), 0, FULL)
			:: else
			fi;
			i++ }
		:: else -> break
		od;
#ifndef M_NORECOVERWAKE
		if
		:: freed -> wakeroom()
		:: !freed
		fi;
#endif
#ifdef LOOKAFTER
		bells = bells|room;
#endif
		freed = 0;
		d_step { room = room & ~BIT(d); i = 0; d = 0; was = 0; freed = 0 }
	od
}
#endif

/* When nobody can go on all have ended, which the end states say, and nothing is in use: there is room for the longest. */
proctype final() {
	byte b, n, mine = NOPOS;
	short w;

	timeout;
	d_step {
		b = head;
		do
		:: true ->
			w = words[b%B]; n = CLAIMED(w, b);
			if
			:: n == 0 || (ended|dead) != BIT(SENDERS)-1 -> break
			:: else -> s = SLOT(w&31); MUST(leak, !INUSE(w)); s = 0; b = b+n
			fi
		od
	}
}

init {
	byte i;
	atomic {
		do
		:: i < N -> slot[i] = SLOTWORD(i, 0, FREE); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < SENDERS -> run sender(i); i++
		:: else -> break
		od;
		do
		:: i < SENDERS+RECEIVERS -> run receiver(i); i++
		:: else -> break
		od;
		i = 0;
		run listener();
#ifdef PLAIN
		run memory();
#endif
#ifdef LOOKER
		run looker();
#endif
#if CRASHES
		run crasher();
		run recoverer();
#ifdef LATE
		run recoverer();
#endif
#endif
		run final()
	}
}
