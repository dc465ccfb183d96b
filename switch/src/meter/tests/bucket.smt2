; The arithmetic of a meter's bucket (bucket.rs), with all 64 bits, for z3. The functions below are those of the file, word for
; word; proof.rs has z3 reckon them with random values, too, and compares what comes out with what the file's give.
(set-logic QF_BV)
(define-sort Word () (_ BitVec 64))
(define-sort Wide () (_ BitVec 72))
(define-fun half () Word #x7fffffffffffffff)
(define-fun depth_max () Word #x3fffffffffffffff)
(define-fun wide ((w Word)) Wide ((_ zero_extend 8) w))
(define-fun least ((a Wide) (b Wide)) Wide (ite (bvult a b) a b))

(define-fun lacking ((full_at Word) (now Word)) Word
  (let ((ahead (bvsub full_at now))) (ite (bvugt ahead half) #x0000000000000000 ahead)))
(define-fun saturating_add ((a Word) (b Word)) Word
  (let ((sum (bvadd a b))) (ite (bvult sum a) #xffffffffffffffff sum)))
(define-fun owed ((full_at Word) (now Word) (cost Word)) Word
  (let ((sum (saturating_add (lacking full_at now) cost))) (ite (bvugt sum depth_max) depth_max sum)))
(define-fun owing ((full_at Word) (now Word) (cost Word)) Word
  (bvadd now (owed full_at now cost)))
; What is taken to be lacking, where a slower rate left more than can be.
(define-fun lacks ((full_at Word) (now Word) (cost Word) (depth Word) (slack Word)) Word
  (let ((ahead (lacking full_at now)))
    (ite (bvugt ahead (bvadd depth slack)) (bvsub depth cost) ahead)))
(define-fun gives ((full_at Word) (now Word) (cost Word) (depth Word) (slack Word)) Bool
  (and (bvule cost depth) (bvule (lacks full_at now cost depth slack) (bvsub depth cost))))
(define-fun charged ((full_at Word) (now Word) (cost Word) (depth Word) (slack Word)) Word
  (bvadd now (bvadd (lacks full_at now cost depth slack) cost)))

(declare-const full_at Word)
(declare-const now Word)
(declare-const cost Word)
(declare-const depth Word)
(declare-const slack Word)
(declare-const passed Word)
