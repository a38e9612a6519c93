"""Asks a broker on 127.0.0.1:PORT for each refusal and prints the code and text it gives. usage: amqp-errors.py [PORT] [MGMT_PORT]

Without the second port what needs the HTTP API is left out: users with other permissions, and the API's own refusals.
"""
import sys, uuid, json, time, urllib.request, base64, pika, socket
PORT=int(sys.argv[1]) if len(sys.argv)>1 else 5672
MG=int(sys.argv[2]) if len(sys.argv)>2 else None
def conn(user='guest',pw='guest',vhost='/',**k):
    return pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1',PORT,vhost,pika.PlainCredentials(user,pw),connection_attempts=1,**k))
def u(): return 'p-'+uuid.uuid4().hex[:8]
def mg(method,path,body=None):
    r=urllib.request.Request('http://127.0.0.1:%d/api%s'%(MG,path),method=method,data=None if body is None else json.dumps(body).encode(),headers={'content-type':'application/json','authorization':'Basic '+base64.b64encode(b'guest:guest').decode()})
    try:
        with urllib.request.urlopen(r) as f: return f.status,f.read().decode()[:200]
    except urllib.error.HTTPError as e: return e.code,e.read().decode()[:300]
CASES=[]
def case(f): CASES.append(f); return f
def run(name,f):
    c=None
    try:
        c=conn(); ch=c.channel(); why=[]; ch._impl.add_on_close_callback(lambda _,e: why.append(e)); r=f(c,ch)
        c.process_data_events(0.2)
        out=('OK',r if isinstance(r,(str,int)) or (isinstance(r,tuple) and r and isinstance(r[0],str)) else '')
        if not ch.is_open: e=why[0]; out=('channel',e.reply_code,e.reply_text)
    except pika.exceptions.ChannelClosedByBroker as e: out=('channel',e.reply_code,e.reply_text)
    except pika.exceptions.ConnectionClosedByBroker as e: out=('CONNECTION',e.reply_code,e.reply_text)
    except Exception as e: out=(type(e).__name__,str(e)[:200])
    print('%-46s %s'%(name,'  '.join(str(x) for x in out)))
    try: c and c.close()
    except Exception: pass
def q(ch,name=None,**a): 
    n=name or u(); ch.queue_declare(n,**a); return n
S=[]
def T(name):
    def d(f): S.append((name,f)); return f
    return d
T('queue.declare passive missing')(lambda c,ch: ch.queue_declare('no-such',passive=True))
T('exchange.declare passive missing')(lambda c,ch: ch.exchange_declare('no-such',passive=True))
T('exchange.declare unknown type')(lambda c,ch: ch.exchange_declare(u(),'nope'))
T('exchange.declare amq. prefix')(lambda c,ch: ch.exchange_declare('amq.mine','direct'))
T('queue.declare amq. prefix')(lambda c,ch: ch.queue_declare('amq.mine'))
T('exchange.declare default name')(lambda c,ch: ch.exchange_declare('','direct'))
T('exchange.delete amq.direct')(lambda c,ch: ch.exchange_delete('amq.direct'))
T('exchange.delete missing')(lambda c,ch: ch.exchange_delete('no-such'))
T('queue.delete missing')(lambda c,ch: ch.queue_delete('no-such'))
T('queue.purge missing')(lambda c,ch: ch.queue_purge('no-such'))
@T('queue.declare inequivalent durable')
def _(c,ch): n=q(ch,exclusive=True,durable=False); ch.queue_declare(n,exclusive=True,durable=True)
@T('queue.declare inequivalent auto_delete')
def _(c,ch): n=q(ch,exclusive=True); ch.queue_declare(n,exclusive=True,auto_delete=True)
@T('queue.declare inequivalent x-message-ttl')
def _(c,ch): n=q(ch,exclusive=True,arguments={'x-message-ttl':1000}); ch.queue_declare(n,exclusive=True,arguments={'x-message-ttl':2000})
@T('queue.declare inequivalent arg absent->set')
def _(c,ch): n=q(ch,exclusive=True); ch.queue_declare(n,exclusive=True,arguments={'x-max-length':5})
@T('exchange.declare inequivalent type')
def _(c,ch): n=u(); ch.exchange_declare(n,'direct',auto_delete=True); ch.exchange_declare(n,'topic',auto_delete=True)
@T('exchange.declare inequivalent durable')
def _(c,ch): n=u(); ch.exchange_declare(n,'direct',auto_delete=True); ch.exchange_declare(n,'direct',auto_delete=True,durable=True)
@T('exclusive queue from other connection')
def _(c,ch):
    c2=conn(); n=q(c2.channel(),exclusive=True)
    try: ch.queue_declare(n,exclusive=True)
    finally: c2.close()
@T('basic.consume exclusive, in use')
def _(c,ch): n=q(ch,auto_delete=True); ch.basic_consume(n,lambda *a:0,exclusive=True); ch.basic_consume(n,lambda *a:0)
@T('basic.consume exclusive after plain')
def _(c,ch): n=q(ch,auto_delete=True); ch.basic_consume(n,lambda *a:0); ch.basic_consume(n,lambda *a:0,exclusive=True)
T('basic.consume missing queue')(lambda c,ch: ch.basic_consume('no-such',lambda *a:0))
T('basic.get missing queue')(lambda c,ch: ch.basic_get('no-such'))
@T('basic.consume reused tag')
def _(c,ch):
    n=q(ch,exclusive=True); ch.basic_consume(n,lambda *a:0,consumer_tag='t')
    ch._impl._consumers.pop('t',None); ch._consumer_infos.pop('t',None); ch.basic_consume(n,lambda *a:0,consumer_tag='t')
T('basic.publish missing exchange')(lambda c,ch: (ch.basic_publish('no-such','k',b'x'),c.process_data_events(0.3))[1])
T('basic.publish immediate=true')(lambda c,ch: (ch._impl._send_method(pika.spec.Basic.Publish(exchange='',routing_key='x',immediate=True),(pika.BasicProperties(),b'x')),c.process_data_events(0.3))[1])
T('basic.ack unknown tag')(lambda c,ch: (ch.basic_ack(99),c.process_data_events(0.3))[1])
T('basic.reject unknown tag')(lambda c,ch: (ch.basic_reject(99),c.process_data_events(0.3))[1])
@T('double ack')
def _(c,ch):
    n=q(ch,exclusive=True); ch.basic_publish('',n,b'x'); time.sleep(.2); m,_,_=ch.basic_get(n); ch.basic_ack(m.delivery_tag); ch.basic_ack(m.delivery_tag); c.process_data_events(0.3)
T('basic.recover requeue=false')(lambda c,ch: ch.basic_recover(requeue=False))
T('basic.qos prefetch_size=1')(lambda c,ch: ch.basic_qos(prefetch_size=1))
T('tx.select after confirm.select')(lambda c,ch: (ch.confirm_delivery(),ch.tx_select()))
T('confirm.select after tx.select')(lambda c,ch: (ch.tx_select(),ch.confirm_delivery()))
T('tx.commit without select')(lambda c,ch: ch.tx_commit())
T('expiration not a number')(lambda c,ch: (ch.basic_publish('','x',b'x',pika.BasicProperties(expiration='abc')),c.process_data_events(0.3))[1])
T('expiration negative')(lambda c,ch: (ch.basic_publish('','x',b'x',pika.BasicProperties(expiration='-1')),c.process_data_events(0.3))[1])
T('user_id wrong')(lambda c,ch: (ch.basic_publish('','x',b'x',pika.BasicProperties(user_id='bob')),c.process_data_events(0.3))[1])
T('CC header not array')(lambda c,ch: (ch.basic_publish('','x',b'x',pika.BasicProperties(headers={'CC':'str'})),c.process_data_events(0.3))[1])
T('x-message-ttl negative')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-message-ttl':-1}))
T('x-message-ttl string')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-message-ttl':'10'}))
T('x-expires zero')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-expires':0}))
T('x-max-length negative')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-max-length':-1}))
T('x-max-priority 256')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-max-priority':256}))
T('x-max-priority 0')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-max-priority':0}))
T('x-overflow unknown')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-overflow':'zz'}))
T('x-dead-letter-routing-key without dlx')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-dead-letter-routing-key':'k'}))
T('x-queue-type unknown')(lambda c,ch: ch.queue_declare(u(),arguments={'x-queue-type':'zz'}))
T('unknown x- argument')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-zz':1}))
T('quorum queue not durable')(lambda c,ch: ch.queue_declare(u(),arguments={'x-queue-type':'quorum'}))
T('quorum queue exclusive')(lambda c,ch: ch.queue_declare(u(),durable=True,exclusive=True,arguments={'x-queue-type':'quorum'}))
T('quorum queue auto_delete')(lambda c,ch: ch.queue_declare(u(),durable=True,auto_delete=True,arguments={'x-queue-type':'quorum'}))
T('quorum queue x-max-priority')(lambda c,ch: ch.queue_declare(u(),durable=True,arguments={'x-queue-type':'quorum','x-max-priority':5,'x-expires':5000}))
T('classic queue x-delivery-limit')(lambda c,ch: ch.queue_declare(u(),exclusive=True,arguments={'x-delivery-limit':5}))
T('quorum queue server-named')(lambda c,ch: ch.queue_declare('',durable=True,arguments={'x-queue-type':'quorum','x-expires':5000}))
T('stream queue not durable')(lambda c,ch: ch.queue_declare(u(),arguments={'x-queue-type':'stream'}))
T('non-durable non-exclusive classic')(lambda c,ch: ch.queue_declare(u(),arguments={'x-expires':3000}))
@T('stream basic.get')
def _(c,ch):
    n=q(ch,'probe-stream',durable=True,arguments={'x-queue-type':'stream'}); ch.basic_get(n)
@T('stream consume auto_ack')
def _(c,ch):
    n=q(ch,'probe-stream',durable=True,arguments={'x-queue-type':'stream'}); ch.basic_qos(prefetch_count=1); ch.basic_consume(n,lambda *a:0,auto_ack=True)
@T('stream consume without prefetch')
def _(c,ch):
    n=q(ch,'probe-stream',durable=True,arguments={'x-queue-type':'stream'}); ch.basic_consume(n,lambda *a:0)
@T('stream purge')
def _(c,ch): ch.queue_purge('probe-stream')
@T('stream consume bad offset')
def _(c,ch): ch.basic_qos(prefetch_count=1); ch.basic_consume('probe-stream',lambda *a:0,arguments={'x-stream-offset':'zz'})
@T('queue.delete if_unused in use')
def _(c,ch): n=q(ch,auto_delete=True); ch.basic_consume(n,lambda *a:0); ch.queue_delete(n,if_unused=True)
@T('queue.delete if_empty not empty')
def _(c,ch): n=q(ch,exclusive=True); ch.basic_publish('',n,b'x'); time.sleep(.2); ch.queue_delete(n,if_empty=True)
@T('exchange.delete if_unused in use')
def _(c,ch): n=q(ch,exclusive=True); x=u(); ch.exchange_declare(x,'direct',auto_delete=True); ch.queue_bind(n,x,'k'); ch.exchange_delete(x,if_unused=True)
T('queue.bind missing queue')(lambda c,ch: ch.queue_bind('no-such','amq.direct','k'))
@T('queue.bind missing exchange')
def _(c,ch): n=q(ch,exclusive=True); ch.queue_bind(n,'no-such','k')
@T('queue.bind default exchange')
def _(c,ch): n=q(ch,exclusive=True); ch.queue_bind(n,'','k')
@T('queue.unbind missing binding')
def _(c,ch): n=q(ch,exclusive=True); ch.queue_unbind(n,'amq.direct','zz')
T('exchange.bind missing source')(lambda c,ch: ch.exchange_bind('amq.fanout','no-such','k'))
@T('publish to internal exchange')
def _(c,ch): x=u(); ch.exchange_declare(x,'fanout',internal=True,auto_delete=True); ch.basic_publish(x,'k',b'x'); c.process_data_events(0.3)
@T('headers x-match invalid')
def _(c,ch): n=q(ch,exclusive=True); ch.queue_bind(n,'amq.headers','',arguments={'x-match':'zz'})
@T('x-consistent-hash bind key not int')
def _(c,ch): n=q(ch,exclusive=True); x=u(); ch.exchange_declare(x,'x-consistent-hash',auto_delete=True); ch.queue_bind(n,x,'notint')
@T('x-delayed-message type')
def _(c,ch): ch.exchange_declare(u(),'x-delayed-message',auto_delete=True,arguments={'x-delayed-type':'direct'})
@T('x-local-random type')
def _(c,ch): ch.exchange_declare(u(),'x-local-random',auto_delete=True)
@T('x-random type')
def _(c,ch): ch.exchange_declare(u(),'x-random',auto_delete=True)
@T('x-modulus-hash type')
def _(c,ch): ch.exchange_declare(u(),'x-modulus-hash',auto_delete=True)
@T('alternate-exchange non-string')
def _(c,ch): ch.exchange_declare(u(),'direct',auto_delete=True,arguments={'alternate-exchange':5})
@T('reply-to publish without consumer')
def _(c,ch): ch.basic_publish('','x',b'x',pika.BasicProperties(reply_to='amq.rabbitmq.reply-to')); c.process_data_events(0.3)
@T('reply-to consume with ack')
def _(c,ch): ch.basic_consume('amq.rabbitmq.reply-to',lambda *a:0,auto_ack=False)
@T('reply-to declare passive')
def _(c,ch): return ch.queue_declare('amq.rabbitmq.reply-to',passive=True).method.queue
@T('SAC + exclusive consumer')
def _(c,ch): n=q(ch,auto_delete=True,arguments={'x-single-active-consumer':True}); ch.basic_consume(n,lambda *a:0,exclusive=True)
@T('SAC queue basic.get (quorum)')
def _(c,ch): n=q(ch,durable=True,arguments={'x-single-active-consumer':True,'x-queue-type':'quorum','x-expires':5000}); ch.basic_consume(n,lambda *a:0); c2=conn(); ch2=c2.channel(); ch2.basic_get(n)
@T('channel.open twice')
def _(c,ch): ch._impl._send_method(pika.spec.Channel.Open()); c.process_data_events(0.5)
@T('message larger than max_message_size')
def _(c,ch): ch.basic_publish('','x',b'x'*(140*1024*1024)); c.process_data_events(2)
@T('mandatory unroutable')
def _(c,ch):
    ch.confirm_delivery()
    try: ch.basic_publish('','no-such-q',b'x',mandatory=True)
    except pika.exceptions.UnroutableError as e: return ('basic.return',e.messages[0].method.reply_code,e.messages[0].method.reply_text)
@T('max-length 1 reject-publish confirm')
def _(c,ch):
    n=q(ch,exclusive=True,arguments={'x-max-length':1,'x-overflow':'reject-publish'}); ch.confirm_delivery(); ch.basic_publish('',n,b'1')
    try: ch.basic_publish('',n,b'2'); return 'ack'
    except pika.exceptions.NackError as e: return 'basic.nack'
def nologin(name,**k):
    try: c=conn(**k); c.close(); print('%-46s OK'%name)
    except Exception as e:
        r=e.args[0] if e.args else ''
        print('%-46s %s  %s'%(name,type(e).__name__, getattr(e,'reply_code','') and (e.reply_code,e.reply_text) or r))
import re, builtins
_print=builtins.print
def print(*a):
    t=' '.join(str(x) for x in a); t=re.sub(r'p-[0-9a-f]{8}','<name>',t); t=re.sub(r"'cluster_name': '[^']*'","'cluster_name': '<name>'",t)
    t=re.sub(r'"filtered_count":[0-9]+','"filtered_count":<n>',t); t=re.sub(r'"ports":\[[0-9,]*\]','"ports":[<ports>]',t); t=re.sub(r'"node":"ra.*','"node":"<node>',t); t=re.sub(r"'platform': '[^']*'","'platform': '<platform>'",t); _print(t)
if __name__=='__main__':
    for n,f in S: run(n,f)
    nologin('wrong password',pw='zz'); nologin('missing vhost',vhost='no-such')
    if MG:
        mg('PUT','/users/probe',{'password':'p','tags':''}); nologin('no access to vhost',user='probe',pw='p')
        mg('PUT','/permissions/%2F/probe',{'configure':'^mine','write':'^mine','read':'^mine'})
        for name,f in [('no configure permission',lambda ch: ch.queue_declare('other')),('no write permission',lambda ch:(ch.basic_publish('amq.direct','k',b'x'),ch.connection.process_data_events(0.3))),('no read permission',lambda ch: ch.basic_get('other'))]:
            try:
                c=conn('probe','p'); ch=c.channel(); why=[]; ch._impl.add_on_close_callback(lambda _,e: why.append(e)); f(ch); c.process_data_events(0.5)
                print('%-46s %s'%(name,'OK' if ch.is_open else 'channel  %s  %s'%(why[0].reply_code,why[0].reply_text)))
            except Exception as e: print('%-46s %s %s %s'%(name,type(e).__name__,getattr(e,'reply_code',''),getattr(e,'reply_text',e)))
        mg('DELETE','/users/probe'); 
    s=socket.create_connection(('127.0.0.1',PORT)); s.send(b'AMQP\x01\x01\x00\x0a'); s.settimeout(3)
    try: print('%-46s %r'%('bad protocol header -> server sends',s.recv(64)))
    except Exception as e: print('bad header',e)
    s=socket.create_connection(('127.0.0.1',PORT)); s.send(b'AMQP\x00\x00\x09\x01'); d=b''; s.settimeout(1)
    try:
        while True:
            x=s.recv(65536)
            if not x: break
            d+=x
    except Exception: pass
    print('connection.start: version',d[11:13],'caps:',sorted(k for k in [b'publisher_confirms',b'exchange_exchange_bindings',b'basic.nack',b'consumer_cancel_notify',b'connection.blocked',b'consumer_priorities',b'authentication_failure_close',b'per_consumer_qos',b'direct_reply_to'] if k in d), 'mechs', [m for m in (b'PLAIN',b'AMQPLAIN',b'RABBIT-CR-DEMO',b'EXTERNAL',b'ANONYMOUS') if m in d])
    c=conn(); p=c._impl.params; i=c._impl; print('connection.tune: channel_max %s frame_max %s heartbeat %s'%(i.params.channel_max,i.params.frame_max,i.params.heartbeat)); print('server_properties', {k:v for k,v in i.server_properties.items() if k!='capabilities'}); c.close()
    if MG:
        print('-- management refusals')
        for m,p,b in [('GET','/queues/%2F/no-such',None),('PUT','/queues/%2F/mq',{'durable':True,'arguments':{'x-message-ttl':-1}}),('PUT','/queues/%2F/mq2',{'durable':True}),('PUT','/queues/%2F/mq2',{'durable':False,'auto_delete':True}),('PUT','/exchanges/%2F/mx',{'type':'zz'}),('PUT','/exchanges/%2F/mx',{}),('DELETE','/exchanges/%2F/amq.direct',None),('PUT','/policies/%2F/p',{'pattern':'^x','definition':{'zz':1}}),('PUT','/policies/%2F/p',{'pattern':'^x'}),('PUT','/policies/%2F/p',{'pattern':'(','definition':{'max-length':1}}),('PUT','/vhost-limits/%2F/max-queues',{'value':-2}),('PUT','/users/x',{}),('PUT','/users/x',{'password':'','tags':''}),('POST','/exchanges/%2F/amq.default/publish',{'properties':{},'routing_key':'no','payload':'x','payload_encoding':'string'}),('POST','/exchanges/%2F/amq.default/publish',{}),('POST','/queues/%2F/mq2/get',{'count':1,'ackmode':'ack_requeue_true','encoding':'auto'}),('POST','/queues/%2F/mq2/get',{}),('POST','/bindings/%2F/e/amq.direct/q/no-such',{'routing_key':'k'}),('GET','/nonsense',None),('GET','/aliveness-test/%2F',None),('GET','/health/checks/alarms',None),('GET','/health/checks/port-listener/1',None),('GET','/queues?page=1&page_size=2',None),('GET','/queues?page=999',None),('DELETE','/queues/%2F/mq2',None),('DELETE','/queues/%2F/mq2',None),('GET','/whoami',None)]:
            r=mg(m,p,b); print('%-58s %s'%(m+' '+p,r))
        mg('DELETE','/queues/%2F/probe-stream'); mg('DELETE','/queues/%2F/aliveness-test'); mg('DELETE','/users/x')
        mg('DELETE','/exchanges/%2F/mx')
