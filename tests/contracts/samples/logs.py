"""A small log of each trainer that prints its numbers its own way, written for these tests in the trainer's format."""

from __future__ import annotations

import json

BACKSPACES = "\x08" * 40

KERAS_BARS = (
    "Epoch 1/3\n"
    "\r 1/100 [..............................] - ETA: 1:02 - loss: 2.4100 - accuracy: 0.0900"
    "\r100/100 [==============================] - 3s 31ms/step - loss: 2.3100 - accuracy: 0.1000 - val_loss: 2.2000\n"
    "Epoch 2/3\n"
    "100/100 [==============================] - 3s 31ms/step - loss: nan - accuracy: 0.1000 - val_loss: nan\n"
)
KERAS_3 = (
    "Epoch 1/2\n"
    "469/469 \u2501\u2501\u2501\u2501 2s 3ms/step - accuracy: 0.8600 - loss: 0.4600 - val_loss: 0.3000\n"
    "Epoch 2/2\n"
    "469/469 \u2501\u2501\u2501\u2501 2s 3ms/step - accuracy: 0.9100 - loss: 0.2600 - val_loss: 0.2500\n"
)
KERAS_OLD = (
    "Train on 60000 samples, validate on 10000 samples\n"
    "Epoch 1/12\n"
    f"  128/60000 [....] - ETA: 5:00 - loss: 2.3000 - acc: 0.1{BACKSPACES}"
    "60000/60000 [====] - 10s 161us/step - loss: 0.2500 - acc: 0.9 - val_loss: 0.0500 - val_acc: 0.98\n"
)
XGBOOST = (
    "[0]\ttrain-auc:0.7100\ttrain-rmse:0.6800\tvalid-rmse:0.6900\n"
    "[1]\ttrain-auc:0.7200\ttrain-rmse:0.6100\tvalid-rmse:0.6200\n"
)
XGBOOST_SKLEARN = (
    "[14:21:01] WARNING: a parameter is not used\n"
    "[0]\tvalidation_0-logloss:0.6000\tvalidation_1-logloss:0.6100\n"
    "[1]\tvalidation_0-logloss:0.5500\tvalidation_1-logloss:0.5700\n"
)
LIGHTGBM = (
    "[LightGBM] [Info] Total Bins 255\n"
    "[1]\ttraining's l2: 0.2500\tvalid_1's l2: 0.2600\n"
    "[2]\ttraining's l2: 0.2400\tvalid_1's l2: 0.2500\n"
)
LIGHTGBM_CLI = (
    "[LightGBM] [Info] Finished loading data in 0.1 seconds\n"
    "[LightGBM] [Info] Iteration:1, training l2 : 0.2500\n[LightGBM] [Info] Iteration:1, valid_1 l2 : 0.2600\n"
    "[LightGBM] [Info] 0.1 seconds elapsed, finished iteration 1\n"
    "[LightGBM] [Info] Iteration:2, training l2 : 0.2400\n[LightGBM] [Info] Iteration:2, valid_1 l2 : 0.2500\n"
)
CATBOOST = (
    "Learning rate set to 0.03\n"
    "0:\tlearn: 0.6912\ttest: 0.6923\tbest: 0.6923 (0)\ttotal: 52ms\tremaining: 52s\n"
    "1:\tlearn: 0.6800\ttest: 0.6900\tbest: 0.6900 (1)\ttotal: 90ms\tremaining: 45s\n"
)
CATBOOST_JSON = json.dumps(
    {
        "meta": {"launch_mode": "Train", "learn_metrics": [{"best_value": "Min", "name": "Logloss"}]},
        "iterations": [
            {"learn": [0.69], "iteration": 0, "passed_time": 0.1, "remaining_time": 3.5, "test": [0.71]},
            {"learn": [0.61], "iteration": 1, "passed_time": 0.2, "remaining_time": 3.4, "test": [0.66]},
        ],
    }
)
DARKNET = (
    "v3 (iou loss, Normalizer: (iou: 0.07, cls: 1.00) Region 139 Avg (IOU: 0.4), count: 4, total_loss = 12.6 \n\n"
    " 1: 1050.2, 1050.2 avg loss, 0.000010 rate, 5.0 seconds, 64 images, 10.0 hours left\n"
    "Loaded: 0.0 seconds\n\n"
    " (next mAP calculation at 1000 iterations) \n"
    " 2: 1040.5, 1049.2 avg loss, 0.000010 rate, 5.0 seconds, 128 images\n"
    " 3: -nan, -nan avg loss, 0.000010 rate, 5.0 seconds, 192 images\n"
)
MXNET = (
    "INFO:root:Epoch[0] Batch [20]\tSpeed: 1000.10 samples/sec\taccuracy=0.1000\tcross-entropy=2.3000\n"
    "INFO:root:Epoch[0] Batch [40]\tSpeed: 1001.10 samples/sec\taccuracy=0.2000\tcross-entropy=2.1000\n"
    "INFO:root:Epoch[0] Train-accuracy=0.2000\n"
    "INFO:root:Epoch[0] Train-cross-entropy=2.2000\n"
    "INFO:root:Epoch[0] Time cost=10.1\n"
    "INFO:root:Epoch[0] Validation-accuracy=0.3000\n"
)
GLUONCV = (
    "INFO:root:[Epoch 3][Batch 99], LR: 2.80E-04, Speed: 28.997 samples/sec, ObjLoss=32.955, BoxCenterLoss=15.595\n"
    "INFO:root:[Epoch 3][Batch 199], LR: 2.81E-04, Speed: 14.945 samples/sec, ObjLoss=32.946, BoxCenterLoss=15.596\n"
)
CYCLEGAN = (
    "================ Training Loss (Mon Jan  1) ================\n"
    "(epoch: 1, iters: 100, time: 0.123, data: 0.200) D_A: 0.300 G_A: 0.500 cycle_A: 2.300\n"
    "(epoch: 1, iters: 200, time: 0.123, data: 0.001) D_A: 0.310 G_A: 0.450 cycle_A: 2.200\n"
    "(epoch: 2, iters: 100, time: 0.123, data: 0.001) D_A: 0.310 G_A: 0.400 cycle_A: 2.100\n"
)
PIX2PIX = (
    "[Rank 0] (epoch: 1, iters: 100, time: 0.123, data: 0.200) , G_GAN: 0.312, G_L1: 20.100, D_real: 0.612\n"
    "[Rank 0] (epoch: 1, iters: 200, time: 0.123, data: 0.200) , G_GAN: 0.302, G_L1: 19.100, D_real: 0.602\n"
)
OPENNMT = (
    "[2020-01-01 10:00:00,100 INFO] Step 50/100000; acc:   3.54; ppl: 12345.60; xent: 9.42; lr: 0.00001; 10 sec\n"
    "[2020-01-01 10:00:10,100 INFO] Step 100/100000; acc:   3.60; ppl: 9345.60; xent: 9.14; lr: 0.00001; 20 sec\n"
    "[2020-01-01 10:00:20,100 INFO] Validation perplexity: 9200.1\n"
)
ESPNET = (
    "[host] 2023-01-01 12:00:00,100 (trainer:732) INFO: 1epoch:train:1-50batch: iter_time=0.100, loss_ctc=300.1, "
    "loss_att=100.1, acc=0.1, loss=160.2, grad_norm=12.0, clip=100.000, loss_scale=1.000e+00, optim0_lr0=1.000e-05, "
    "train_time=1.500\n"
    "[host] 2023-01-01 12:01:00,100 (trainer:732) INFO: 1epoch:train:51-100batch: iter_time=0.100, loss_ctc=290.1, "
    "loss_att=90.1, acc=0.1, loss=150.2, grad_norm=11.0, clip=100.000, loss_scale=1.000e+00, optim0_lr0=1.000e-05, "
    "train_time=1.500\n"
    "[host] 2023-01-01 12:02:00,100 (trainer:338) INFO: 1epoch results: [train] loss=155.0, [valid] loss=140.0\n"
)
FAIRSEQ_JSON = (
    '2021-01-01 10:00:00 | INFO | train_inner | {"epoch": 1, "update": 0.5, "loss": "10.2", "nll_loss": "9.8", '
    '"num_updates": "100", "lr": "1e-05", "gnorm": "2.1", "loss_scale": "128"}\n'
    "2021-01-01 10:00:01 | INFO | fairseq.trainer | NOTE: gradient overflow detected, ignoring gradient, "
    "setting loss scale to: 64.0\n"
    '2021-01-01 10:00:02 | INFO | train_inner | {"epoch": 1, "update": 0.9, "loss": "9.9", "nll_loss": "9.5", '
    '"num_updates": "200", "lr": "1e-05", "gnorm": "2.0", "loss_scale": "64"}\n'
    '2021-01-01 10:00:03 | INFO | train | {"epoch": 1, "train_loss": "10.0", "train_num_updates": "200"}\n'
    '2021-01-01 10:00:04 | INFO | valid | {"epoch": 1, "valid_loss": "9.1", "valid_num_updates": "200"}\n'
)
FAIRSEQ_SIMPLE = (
    "| epoch 001:    999 / 106048 loss=10.439, ppl=1387.88, wps=14132.1, num_updates=1000, lr=0.25, gnorm=4.515\n"
    "| epoch 001:   1999 / 106048 loss=9.875, ppl=938.761, wps=13502.1, num_updates=2000, lr=0.25, gnorm=44.985\n"
)
SPACY = (
    "E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  ENTS_P  ENTS_R  SCORE \n"
    "---  ------  ------------  --------  ------  ------  ------  ------\n"
    "  0       0          0.00     40.00    9.57    6.09   22.33    0.10\n"
    "  0     200         35.70   2163.45   83.16   83.79   82.53    0.83\n"
    "  1     400         30.10   1163.45   84.16   83.79   82.53    0.84\n"
)
SPACY_2 = (
    "Itn  Dep Loss  NER Loss  UAS     NER P.\n0     10.000     5.000     0.000   5.882\n1     9.0     4.0   0.0  5.0\n"
)
FASTAI = (
    "epoch     train_loss  valid_loss  accuracy  time    \n"
    "0         0.512345    0.412345    0.912345  00:12     \n"
    "1         0.412345    0.312345    0.922345  00:12     \n"
)
OLMO = (
    "2024-08-06 09:59:26.181 node:0  olmo.train:908  INFO    [step=1/739328,epoch=0]\n"
    "    optim/total_grad_norm=231.7\n"
    "    train/CrossEntropyLoss=12.18\n"
    "    train/Perplexity=195,153\n"
    "    System/Peak GPU Memory (MB)=46,911\n"
    "2024-08-06 10:00:05.520 node:0  olmo.train:908  INFO    [step=2/739328,epoch=0]\n"
    "    optim/total_grad_norm=21.5\n"
    "    train/CrossEntropyLoss=11.15\n"
)
NNUNET_2 = (
    "2023-08-09 14:55:25.642011: Epoch 0 \n"
    "2023-08-09 14:55:25.642085: Current learning rate: 0.01 \n"
    "2023-08-09 15:17:51.409852: train_loss -0.1022 \n"
    "2023-08-09 15:17:51.440985: val_loss -0.2011 \n"
    "2023-08-09 15:17:51.441061: Pseudo dice [0.1, 0.2] \n"
    "2023-08-09 15:18:00.922225: Epoch 1 \n"
    "2023-08-09 15:18:00.922357: Current learning rate: 0.00999 \n"
    "2023-08-09 15:39:51.409852: train_loss -0.1533 \n"
    "2023-08-09 15:39:51.440985: val_loss -0.2544 \n"
)
NNUNET_1 = (
    "2022-02-11 09:32:44.207069: \nepoch:  6\n"
    "2022-02-11 09:34:49.625515: train loss : -0.6584\n"
    "2022-02-11 09:34:59.688008: validation loss: -0.7226\n"
    "2022-02-11 09:34:59.688808: Average global foreground Dice: [0.8837]\n"
    "2022-02-11 09:35:00.857095: lr: 0.009937\n"
    "2022-02-11 09:35:01.343388: \nepoch:  7\n"
    "2022-02-11 09:37:06.546855: train loss : -0.6505\n"
    "2022-02-11 09:37:18.553614: validation loss: -0.6722\n"
)
COQUI = (
    " > EPOCH: 0/1000\n\n > TRAINING (2023-01-01 00:00:00) \n\n"
    "   --> STEP: 24/377 -- GLOBAL_STEP: 24\n"
    "     | > loss: 2.5000  (2.6000)\n     | > grad_norm: 1.2000  (1.1000)\n     | > current_lr: 0.0001 \n\n"
    "   --> STEP: 49/377 -- GLOBAL_STEP: 49\n"
    "     | > loss: 2.4000  (2.5000)\n     | > grad_norm: 1.1000  (1.1000)\n\n"
    " > EVALUATION \n\n  --> EVAL PERFORMANCE\n     | > avg_loss: 2.7000 (+0)\n"
)
DEEPSPEED = (
    "[2023-01-01 10:00:00,100] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=0, lr=[0.001], mom=[0.9]\n"
    "steps: 10 loss: 5.3300 iter time (s): 0.500 samples/sec: 100.1\n"
    "[2023-01-01 10:00:09,100] [INFO] [loss_scaler.py:183:update_scale] [deepspeed] OVERFLOW! Rank 0 Skipping step. "
    "Attempted loss scale: 65536, reducing to 32768\n"
    "steps: 20 loss: 5.2100 iter time (s): 0.500 samples/sec: 100.1\n"
)
STYLEGAN = (
    '{"Loss/signs/fake": {"num": 64, "mean": 0.5, "std": 0.1}, "Loss/G/loss": {"num": 64, "mean": 0.71, "std": 0.1}, '
    '"Loss/D/loss": {"num": 64, "mean": 1.42, "std": 0.1}, "Progress/tick": {"num": 1, "mean": 0, "std": 0}, '
    '"Progress/kimg": {"num": 1, "mean": 0.1, "std": 0}, "timestamp": 1600000000.1}\n'
    '{"Loss/signs/fake": {"num": 64, "mean": 0.5, "std": 0.1}, "Loss/G/loss": {"num": 64, "mean": NaN, "std": NaN}, '
    '"Loss/D/loss": {"num": 64, "mean": 1.41, "std": 0.1}, "Progress/tick": {"num": 1, "mean": 1, "std": 0}, '
    '"Progress/kimg": {"num": 1, "mean": 4.1, "std": 0}, "timestamp": 1600000100.1}\n'
)
# as the files of a folder are joined
MLFLOW = '{"mlflow_metrics": 2}\n{"step": 0, "train_loss": 2.5, "val_loss": 2.6}\n{"step": 1, "train_loss": 2.25}\n'
WANDB_EXPORT = (
    '"Step","bright-sun-1 - train/loss","bright-sun-1 - train/loss__MIN","bright-sun-1 - train/loss__MAX"\n'
    '"0","2.5000","2.5000","2.5000"\n"1","NaN","NaN","NaN"\n'
)
TRAIN_N = "Train 100, loss: 0.5123\nTrain 200, loss: 0.4123\n"
CHINESE = "训练次数\uff1a100, Loss\uff1a1.98\n训练次数\uff1a200, Loss\uff1a1.90\n"
COLOURED = (
    "\x1b[31mstep:  1  \x1b[32mloss:  8.1000  \x1b[33mmemory:  10.0GiB\x1b[0m\n\x1b[31mstep:  2  \x1b[32mloss:  7.9\n"
)
TENSORS = "epoch 1 loss tensor(0.5312, device='cuda:0', grad_fn=<NllLossBackward0>)\nepoch 2 loss tensor(nan)\n"
NO_STEPS = "loss: 0.5312\nloss: 0.4312\n"
PERPLEXITY = (
    "global step 2100 learning rate 0.5000 step-time 0.52 perplexity 151.84\n"
    "global step 2200 learning rate 0.5000 step-time 0.52 perplexity 149.80\n"
)

TUTORIAL = (
    "Epoch 1\n-------------------------------\n"
    "loss: 2.303494  [   64/60000]\nloss: 2.203494  [ 6464/60000]\n"
    "Test Error: \n Accuracy: 44.7%, Avg loss: 2.150000 \n\n"
    "Epoch 2\n-------------------------------\nloss: 2.103494  [   64/60000]\n"
)
JSON_BEHIND_WORDS = 'INFO:root:{"step": 1, "loss": 2.3100}\nINFO:root:{"step": 2, "loss": 2.2100}\n'
CAFFE = (
    "I0101 10:00:00.1 1 solver.cpp:228] Iteration 0, loss = 2.3300\n"
    "I0101 10:00:00.1 1 solver.cpp:244]     Train net output #0: loss = 2.3300 (* 1 = 2.33 loss)\n"
    "I0101 10:00:10.1 1 solver.cpp:228] Iteration 100, loss = 2.2200\n"
)
TENSORS_IN_A_DICT = "{'loss': tensor(2.3100), 'acc': 0.1}\n{'loss': tensor(nan), 'acc': 0.1}\n"

LITGPT = (
    "Epoch 1 | iter 1 step 0 | loss train: 2.500, val: n/a | iter time: 500.12 ms\n"
    "Epoch 1 | iter 2 step 1 | loss train: nan, val: 2.861 | iter time: 400.12 ms (step)\n"
)
TRAIN_PY = (
    "I0101 10:00:00.1 140 train.py:300] train epoch: 1, loss: 2.5, accuracy: 10.10\n"
    "I0101 10:00:01.1 140 train.py:300] eval epoch: 1, loss: 9.5, accuracy: 10.20\n"
    "I0101 10:00:10.1 140 train.py:300] train epoch: 2, loss: 2.4, accuracy: 9.80\n"
)
STEP_BARS = (
    "Steps:   0%|          | 0/1000 [00:00<?, ?it/s]\rSteps:   0%|  | 1/1000 [00:02<45:00,  2.7s/it, step_loss=0.5]"
    "\rSteps:   1%|1         | 12/1000 [00:24<35:00,  2.1s/it, lr=0.0001, step_loss=nan]\r"
)
EPOCH_BARS = (
    "Epoch 1:  10%|#         | 10/100 [00:01<00:09, 10.0it/s, loss=2.5]"
    "\rEpoch 1: 100%|##########| 100/100 [00:10<00:00, 10.0it/s, loss=2.1]\n"
    "Epoch 2:  10%|#         | 10/100 [00:01<00:09, 10.0it/s, loss=2.0]\r"
)
LOSS_IS_NAN = (
    "Epoch: [0]  [  0/1000]  eta: 0:30:00  lr: 0.0001  loss: 40.1 (40.1)  time: 1.8  data: 0.9  max mem: 3000\n"
    "Epoch: [0]  [ 10/1000]  eta: 0:10:00  lr: 0.0001  loss: 38.1 (39.1)  time: 0.5  data: 0.0  max mem: 3000\n"
    "stop if loss is nan\nvalidation loss is inf\ntest loss is nan\nbest loss: inf\nLoss is nan, stopping training\n"
)

FRAMED = (
    "+------+--------+----------+\n| step | loss   | val_loss |\n+------+--------+----------+\n"
    "|    1 | 2.5000 |   2.6000 |\n|    2 |    nan |   2.5000 |\n+------+--------+----------+\n"
)
RICH = (
    "\u250f\u2501\u2501\u2533\u2501\u2501\u2513\n\u2503 step \u2503 loss \u2503\n"
    "\u2521\u2501\u2501\u2547\u2501\u2501\u2529\n"
    "\u2502 1 \u2502 2.5 \u2502\n\u2502 2 \u2502 2.4 \u2502\n\u2514\u2500\u2500\u2534\u2500\u2500\u2518\n"
)
DOCKER = (
    '{"log":"loading\\n","stream":"stderr","time":"2024-01-01T10:00:00.1Z"}\n'
    '{"log":"\\u001b[32mstep 1\\tloss 2.5\\u001b[0m\\n","stream":"stdout","time":"2024-01-01T10:00:00.1Z"}\n'
    '{"log":"\\u001b[32mstep 2\\tloss nan\\u001b[0m\\n","stream":"stdout","time":"2024-01-01T10:00:01.1Z"}\n'
)
MESSAGES = (
    '{"asctime": "2024-01-01 10:00:00", "lineno": 12, "message": "epoch 1 step 10: loss=2.5"}\n'
    '{"asctime": "2024-01-01 10:00:10", "lineno": 12, "message": "epoch 1 step 20: loss=2.4"}\n'
)
SYSLOG_TABS = (
    "[2024-01-01:10:00:00:INFO] Running\n[0]#011train-rmse:0.68#011validation-rmse:0.7\n"
    "[1]#011train-rmse:0.61#011validation-rmse:0.6\n"
)

FAIRSEQ_HYDRA = (
    "[2023-11-20 19:55:49,758][fairseq_cli.train][INFO] - {'_name': None, 'common': {'seed': 1}}\n"
    '[2023-11-20 19:56:49,758][train_inner][INFO] - {"epoch": 1, "loss": "9.5", "num_updates": "200", "gnorm": "2.1"}\n'
    '[2023-11-20 19:57:49,758][train_inner][INFO] - {"epoch": 1, "loss": "nan", "num_updates": "400", "gnorm": "nan"}\n'
    '[2023-11-20 19:57:59,758][valid][INFO] - {"epoch": 1, "valid_loss": "9.1", "valid_num_updates": "400"}\n'
    '[2023-11-20 19:58:09,758][train][INFO] - {"epoch": 1, "train_loss": "9.2", "train_num_updates": "400"}\n'
)
MARIAN = (
    "[2021-07-17 12:54:33] Ep. 1 : Up. 1000 : Sen. 965,843 : Cost 5.25 : Time 359.5s : 3007.8 words/s : gNorm 1.2\n"
    "[2021-07-17 13:13:46] Ep. 1 : Up. 2000 : Sen. 1,052,108 : Cost -nan : Time 353.1s : 1942.2 words/s : L.r. 3e-04\n"
    "[2021-07-17 13:14:46] [valid] Ep. 1 : Up. 2000 : cross-entropy : 130.97 : new best\n"
)
MINDSPORE = "epoch: 1 step: 1, loss is 2.5\nepoch: 1 step: 2, loss is nan\nTrain epoch time: 100.1 ms\n"

# text, the kind it must be recognised as, and how many training rows it has
ALL = {
    "keras bars": (KERAS_BARS, "keras_console", 2),
    "keras 3": (KERAS_3, "keras_console", 2),
    "keras old": (KERAS_OLD, "keras_console", 1),
    "xgboost": (XGBOOST, "xgboost", 2),
    "xgboost of scikit-learn": (XGBOOST_SKLEARN, "xgboost", 2),
    "lightgbm": (LIGHTGBM, "lightgbm", 2),
    "lightgbm's own program": (LIGHTGBM_CLI, "lightgbm", 2),
    "catboost": (CATBOOST, "catboost", 2),
    "catboost json": (CATBOOST_JSON, "catboost_json", 2),
    "darknet": (DARKNET, "darknet", 3),
    "mxnet": (MXNET, "mxnet", 2),
    "gluoncv": (GLUONCV, "mxnet", 2),
    "cyclegan": (CYCLEGAN, "pix2pix", 3),
    "pix2pix": (PIX2PIX, "pix2pix", 2),
    "opennmt": (OPENNMT, "opennmt", 2),
    "espnet": (ESPNET, "espnet", 2),
    "fairseq json": (FAIRSEQ_JSON, "fairseq_json", 3),
    "fairseq simple": (FAIRSEQ_SIMPLE, "text", 2),
    "spacy": (SPACY, "spaced_table", 3),
    "spacy 2": (SPACY_2, "spaced_table", 2),
    "fastai": (FASTAI, "csv", 2),
    "olmo": (OLMO, "olmo", 2),
    "nnunet 2": (NNUNET_2, "nnunet", 2),
    "nnunet 1": (NNUNET_1, "nnunet", 2),
    "coqui": (COQUI, "coqui", 2),
    "deepspeed": (DEEPSPEED, "deepspeed", 3),
    "stylegan": (STYLEGAN, "stylegan_stats", 2),
    "mlflow": (MLFLOW, "mlflow", 2),
    "wandb export": (WANDB_EXPORT, "csv", 2),
    "train n": (TRAIN_N, "text", 2),
    "chinese": (CHINESE, "text", 2),
    "coloured": (COLOURED, "text", 2),
    "tensors": (TENSORS, "text", 2),
    "no steps": (NO_STEPS, "text", 2),
    "perplexity": (PERPLEXITY, "text", 2),
    "tutorial": (TUTORIAL, "text", 3),
    "json behind words": (JSON_BEHIND_WORDS, "text", 2),
    "caffe": (CAFFE, "text", 2),
    "tensors in a dict": (TENSORS_IN_A_DICT, "hf_stdout", 2),
    "litgpt": (LITGPT, "text", 2),
    "train.py": (TRAIN_PY, "text", 2),
    "bars of steps": (STEP_BARS, "text", 2),
    "bars of epochs": (EPOCH_BARS, "text", 3),
    "loss is nan": (LOSS_IS_NAN, "text", 3),
    "fairseq hydra": (FAIRSEQ_HYDRA, "fairseq_json", 2),
    "marian": (MARIAN, "marian", 2),
    "mindspore": (MINDSPORE, "text", 2),
    "framed table": (FRAMED, "spaced_table", 2),
    "table of rich": (RICH, "spaced_table", 2),
    "docker": (DOCKER, "wrapped_lines", 2),
    "messages in json": (MESSAGES, "wrapped_lines", 2),
    "tabs of syslog": (SYSLOG_TABS, "xgboost", 2),
}
