import zlib, gzip, asyncio, json
from tests.integration.running import *
from tests.acceptance.world import alert, webhook
async def test_x(database_url):
    async with running(database_url) as s:
        b=webhook([alert("A",severity="warning")])
        for p in ("/webhook","/webhook/","//webhook","/api/v1/webhook","/api/v1/webhook/","///webhook//","//api/v1/webhook", "/api/v1//webhook","/webhookx","/x/webhook"):
            print(p, await s.post(b,p))
        print('gzip ok', await s.post(gzip.compress(b), headers={"Connection":"close","Content-Encoding":"gzip"}))
        print('gzip bad', await s.post(b, headers={"Connection":"close","Content-Encoding":"gzip"}))
        print('gzip cut', await s.post(gzip.compress(b)[:-10], headers={"Connection":"close","Content-Encoding":"gzip"}))
        print('deflate bad', await s.post(b, headers={"Connection":"close","Content-Encoding":"deflate"}))
        print('br bad', await s.post(b, headers={"Connection":"close","Content-Encoding":"br"}))
        print('unknown enc', await s.post(b, headers={"Connection":"close","Content-Encoding":"zzz"}))
        bomb=gzip.compress(b" "*300_000_000,9); print(len(bomb))
        print('bomb', await s.post(bomb, headers={"Connection":"close","Content-Encoding":"gzip"}))
        print('33M', await s.post(__import__("io").BytesIO(b" "*33*1024*1024)))
        async def raw(data, pause=0):
            r,w=await asyncio.open_connection("127.0.0.1", s.client.port)
            w.write(data); await w.drain()
            if pause: await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(3): out=await r.read(3000)
            except TimeoutError: out=b'(nothing)'
            w.close(); return out[:150]
        H=b"POST /webhook HTTP/1.1\r\nHost: x\r\n"
        print('badchunk', await raw(H+b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc"))
        print('badchunk2', await raw(H+b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n"))
        print('clte', await raw(H+b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
        print('neg cl', await raw(H+b"Content-Length: -5\r\n\r\n"))
        print('bighdr', await raw(H+b"X: "+b"a"*20000+b"\r\nContent-Length: 0\r\n\r\n"))
        print('expect', await raw(H+b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n"))
        print('star', await raw(b"POST * HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))
        print('abs', await raw(b"POST http://x/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))
        print('nonascii auth', await raw(H+b"Authorization: Bearer \xff\xfe\r\nContent-Length: 0\r\n\r\n"))
        for name,body in {"neg":b'{"truncatedAlerts":-1,"alerts":[]}'}.items(): print(name, await s.post(body))
