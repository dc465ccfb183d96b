import random, socket, sys
numbers, s = random.Random(7), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], int(sys.argv[2])))
same = 0
for number in range(int(sys.argv[3])):
    data = numbers.randbytes(numbers.choice([1, 2, 61, 600, 1472, 1473, 4000, 9000]))
    s.send(data)
    same += s.recv(65536) == data
print("same", same, flush=True)
