"""Shapes a client sees. usage: probe.py [PORT]"""
import re,sys,uuid,time,pika,json
PORT=int(sys.argv[1]) if len(sys.argv)>1 else 5672
def conn(): return pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1',PORT,'/',pika.PlainCredentials('guest','guest'),client_properties={'connection_name':'probe'}))
def u(): return 'b-'+uuid.uuid4().hex[:6]
P=pika.BasicProperties
def get(ch,q,wait=2.0,auto=True):
    t=time.time()
    while time.time()-t<wait:
        m,p,b=ch.basic_get(q,auto_ack=auto)
        if m: return m,p,b
        time.sleep(.02)
    return None,None,None
def pump(t): # One call of process_data_events returns with the first that has come.
    e=time.time()+t
    while time.time()<e: c.process_data_events(0.1)
def show(n,*a): print('%-34s'%n,*a)
def scrub(h): return re.sub(r'"time": "[^"]*"','"time": "<time>"',json.dumps(h,default=str,sort_keys=True))
c=conn(); ch=c.channel()
# 1 dead letter by ttl, reject, maxlen, delivery limit
for why in ['expired(queue ttl)','expired(message ttl)','rejected','maxlen','delivery_limit']:
    d=ch.queue_declare('',exclusive=True).method.queue; s=u(); a={'x-dead-letter-exchange':'','x-dead-letter-routing-key':d}
    if why.startswith('expired(queue'): a['x-message-ttl']=100
    if why=='maxlen': a['x-max-length']=1
    kw=dict(exclusive=True)
    if why=='delivery_limit': a.update({'x-queue-type':'quorum','x-delivery-limit':1,'x-expires':20000}); kw=dict(durable=True)
    ch.queue_declare(s,arguments=a,**kw)
    ch.basic_publish('',s,b'm',P(expiration='100' if 'message' in why else None,message_id='1',headers={'h':1}))
    if why=='maxlen': ch.basic_publish('',s,b'n')
    if why=='rejected': m,_,_=get(ch,s,auto=False); ch.basic_reject(m.delivery_tag,requeue=False)
    if why=='delivery_limit':
        for i in range(3):
            m,p,_=get(ch,s,1,auto=False)
            if not m: break
            show('  quorum redelivery %d'%i,'redelivered',m.redelivered,scrub(p.headers)); ch.basic_reject(m.delivery_tag,requeue=True)
    m,p,b=get(ch,d,4)
    show('x-death '+why, scrub(p.headers).replace(s,'<SRC>').replace(d,'<DST>') if p else None,'expiration',p and p.expiration)
# 2 priority order
q=u(); ch.queue_declare(q,exclusive=True,arguments={'x-max-priority':3})
for i,pr in enumerate([0,1,2,3,9,None]): ch.basic_publish('',q,str(pr).encode(),P(priority=pr))
time.sleep(.3); show('priority order (max 3)',[get(ch,q)[2] for _ in range(6)])
# 3 CC / BCC
a1,b1,c1=[ch.queue_declare('',exclusive=True).method.queue for _ in range(3)]
ch.basic_publish('',a1,b'x',P(headers={'CC':[b1],'BCC':[c1]})); show('CC/BCC headers delivered',[scrub(get(ch,x)[1].headers).replace(b1,'<B>') for x in (a1,b1,c1)])
# 4 alternate exchange + e2e + headers + topic
x,ae,q=u(),u(),u(); ch.exchange_declare(ae,'fanout',auto_delete=True); ch.exchange_declare(x,'direct',auto_delete=True,arguments={'alternate-exchange':ae}); ch.queue_declare(q,exclusive=True); ch.queue_bind(q,ae); ch.basic_publish(x,'nokey',b'ae'); m,p,b=get(ch,q); show('alternate exchange','exchange seen',m.exchange==x,'rk',m.routing_key)
# 5 redelivered + order on requeue
q=u(); ch.queue_declare(q,exclusive=True)
for i in b'abc': ch.basic_publish('',q,bytes([i]))
time.sleep(.2); m,_,b=get(ch,q,auto=False); ch.basic_nack(m.delivery_tag,requeue=True); time.sleep(.1); r=[get(ch,q) for _ in range(3)]; show('requeue position',[x[2] for x in r],[x[0].redelivered for x in r],'message_count field',[x[0].message_count for x in r])
# 6 consumer cancel notification
q=u(); ch2=c.channel(); ch.queue_declare(q,auto_delete=True); got=[]; ch2.add_on_cancel_callback(lambda m: got.append(type(m.method).__name__)); ch2.basic_consume(q,lambda *a:0); ch.queue_delete(q); pump(.5); show('cancel notify on queue.delete',got)
# 7 SAC
q=u(); ch.queue_declare(q,exclusive=True,arguments={'x-single-active-consumer':True}); g1,g2=[],[]; k1=ch.channel_number
chA,chB=c.channel(),c.channel(); tA=chA.basic_consume(q,lambda c_,m,p,b:g1.append(b),auto_ack=True); chB.basic_consume(q,lambda c_,m,p,b:g2.append(b),auto_ack=True)
for i in range(4): ch.basic_publish('',q,b'%d'%i)
pump(.5); chA.basic_cancel(tA)
for i in range(4,6): ch.basic_publish('',q,b'%d'%i)
pump(.5); show('single active consumer',g1,g2)
# 8 consumer priority
q=u(); ch.queue_declare(q,exclusive=True); g1,g2=[],[]; chA,chB=c.channel(),c.channel(); chA.basic_qos(prefetch_count=2); chB.basic_qos(prefetch_count=2)
chA.basic_consume(q,lambda c_,m,p,b:g1.append(b)); chB.basic_consume(q,lambda c_,m,p,b:g2.append(b),arguments={'x-priority':10})
for i in range(5): ch.basic_publish('',q,b'%d'%i)
pump(.6); show('consumer priority 0 / 10, prefetch 2',g1,g2)
# 9 direct reply-to
r=c.channel(); s=c.channel(); q=u(); s.queue_declare(q,exclusive=True); got=[]; r.basic_consume('amq.rabbitmq.reply-to',lambda c_,m,p,b:got.append((m.exchange,b)),auto_ack=True); r.basic_publish('',q,b'req',P(reply_to='amq.rabbitmq.reply-to',correlation_id='1')); m,p,b=get(s,q); s.basic_publish('',p.reply_to,b'resp',P(correlation_id='1')); pump(.5); show('direct reply-to','reply_to prefix',p.reply_to.split('.')[:3],'len',len(p.reply_to),got)
# 10 stream
q='b-stream-'+u(); ch.queue_declare(q,durable=True,arguments={'x-queue-type':'stream'})
for i in range(3): ch.basic_publish('',q,b'%d'%i,P(headers={'x-stream-filter-value':'f%d'%i}))
time.sleep(.5); g=[]; k=c.channel(); k.basic_qos(prefetch_count=10); k.basic_consume(q,lambda c_,m,p,b:(g.append((b,p.headers)),c_.basic_ack(m.delivery_tag)),arguments={'x-stream-offset':'first'}); pump(2.5); show('stream first',g); k.close(); ch.queue_delete(q)
# 11 confirms multiple, return
x=c.channel(); x.confirm_delivery(); show('confirm mandatory unroutable', end) if False else None
try: x.basic_publish('amq.direct','none',b'',mandatory=True)
except pika.exceptions.UnroutableError as e: show('basic.return',e.messages[0].method)
# 12 queue names, counts
m=ch.queue_declare('',exclusive=True).method; show('server-named queue',m.queue[:8],len(m.queue),'msgs',m.message_count,'cons',m.consumer_count)
q=u(); ch.queue_declare(q,exclusive=True); ch.basic_publish('',q,b'1'); ch.basic_publish('',q,b'2'); time.sleep(.2); show('queue.purge-ok count',ch.queue_purge(q).method.message_count); show('basic.consume tag',ch.basic_consume(q,lambda*a:0)[:8])
# 13 headers with all value types round trip
import decimal,datetime
h={'i':1,'neg':-1,'big':2**40,'s':'é','b':True,'n':None,'d':decimal.Decimal('1.5'),'t':datetime.datetime(2020,1,1,tzinfo=datetime.timezone.utc),'l':[1,'a',{'x':1}],'bytes':b'\x00\xff'}
q=u(); ch.queue_declare(q,exclusive=True); ch.basic_publish('',q,b'',P(headers=h,content_type='t/x',content_encoding='e',delivery_mode=2,priority=4,correlation_id='c',reply_to='r',expiration='60000',message_id='m',timestamp=1,type='ty',user_id='guest',app_id='a',cluster_id='cl')); m,p,b=get(ch,q); show('all properties',p.headers==h, {k:v for k,v in vars(p).items() if k!='headers'})
# 14 consistent hash / random
for t in ['x-consistent-hash','x-random','x-local-random','x-modulus-hash','x-recent-history','x-delayed-message']:
    try:
        cc=conn(); k=cc.channel(); e=u(); k.exchange_declare(e,t,auto_delete=True,arguments={'x-delayed-type':'direct'} if 'delay' in t else {}); qs=[k.queue_declare('',exclusive=True).method.queue for _ in range(3)]
        for z in qs: k.queue_bind(z,e,'1')
        for i in range(300): k.basic_publish(e,'k%d'%i,b'')
        time.sleep(.5); show('spread '+t,[k.queue_declare(z,passive=True).method.message_count for z in qs])
    except Exception as ex: show('spread '+t,type(ex).__name__,str(ex)[:80])
c.close()
