"""A small log of each kind, written for these tests in the format that the framework writes."""

from __future__ import annotations

import base64
import json

from tests.contracts.samples import logs

ULTRALYTICS = """\
epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/mAP50(B),val/box_loss,lr/pg0,lr/pg1,lr/pg2
1,10.5,1.5,2.5,1.1,0.1,1.4,0.01,0.001,0.001
2,21.0,1.4,nan,1.0,0.2,1.3,0.01,0.002,0.002
3,31.5,1.3,2.1,0.9,0.3,1.2,0.01,0.003,0.003
"""
ULTRALYTICS_PADDED = """\
                  epoch,         train/box_loss,         train/cls_loss,   metrics/mAP50(B),                 lr/pg0
                      1,                    1.5,                    2.5,                0.1,                   0.01
                      2,                    1.4,                    2.4,                0.2,                   0.01
"""
YOLOV5 = """\
               epoch,      train/box_loss,      train/obj_loss,      train/cls_loss,     metrics/mAP_0.5,        x/lr0
                   0,                0.08,                0.07,                0.02,                 0.1,         0.07
                   1,                0.07,                0.06,                0.01,                 0.2,         0.04
                   1,                0.07,                0.06,                0.01,                 0.2,         0.04
"""
HF_STATE = json.dumps(
    {
        "best_metric": None,
        "log_history": [
            {"epoch": 0.1, "grad_norm": 2.5, "learning_rate": 1e-4, "loss": 2.0, "step": 10},
            {"epoch": 0.2, "grad_norm": float("nan"), "learning_rate": 1e-4, "loss": 0.0, "step": 20},
            {"epoch": 0.2, "eval_loss": 1.9, "eval_runtime": 3.0, "step": 20},
            {"epoch": 0.3, "grad_norm": 1.5, "learning_rate": 1e-4, "loss": 1.8, "step": 30},
            {"epoch": 0.3, "step": 30, "train_loss": 1.9, "train_runtime": 60.0},
        ],
    },
    indent=2,
)
LIGHTNING = """\
epoch,step,train_loss_step,train_loss_epoch,val_loss
0,9,1.5,,
0,19,1.4,,
0,19,,,1.6
0,19,,1.45,
1,29,1.3,,
"""
KERAS = """\
epoch,accuracy,loss,val_accuracy,val_loss
0,0.5,1.2,0.4,1.3
1,0.6,1.0,0.5,1.2
"""
MM_JSON = """\
{"env_info": "sys.platform: linux", "seed": 0}
{"mode": "train", "epoch": 1, "iter": 50, "lr": 0.01, "memory": 4000, "data_time": 0.1, "loss_cls": 0.5, "loss": 0.9, "time": 0.4}
{"mode": "train", "epoch": 1, "iter": 100, "lr": 0.01, "memory": 4000, "data_time": 0.1, "loss_cls": NaN, "loss": NaN, "time": 0.4}
{"mode": "val", "epoch": 1, "iter": 100, "lr": 0.01, "bbox_mAP": 0.1}
{"mode": "train", "epoch": 2, "iter": 50, "lr": 0.01, "memory": 4100, "data_time": 0.1, "loss_cls": 0.4, "loss": 0.8, "time": 0.4}
"""  # noqa: E501 - lines of a log
MMENGINE = """\
{"lr": 0.1, "data_time": 0.001, "loss": 3.3, "time": 0.14, "epoch": 1, "memory": 2928, "step": 100}
{"lr": 0.1, "data_time": 0.001, "loss": 3.1, "time": 0.14, "epoch": 1, "memory": 2928, "step": 200}
{"accuracy/top1": 4.8, "data_time": 0.0003, "time": 0.04, "step": 1}
"""
DETECTRON2 = """\
{"data_time": 0.01, "eta_seconds": 2121.9, "iteration": 19, "loss_cls": 2.6, "lr": 0.001, "time": 1.1, "total_loss": 4.6}
{"data_time": 0.01, "eta_seconds": 2090.8, "iteration": 39, "loss_cls": 2.1, "lr": 0.002, "time": 1.1, "total_loss": 4.1}
{"bbox/AP": 12.5, "iteration": 39}
{"data_time": 0.01, "eta_seconds": 2121.9, "iteration": 19, "loss_cls": 2.0, "lr": 0.001, "time": 1.1, "total_loss": 4.0}
"""  # noqa: E501 - lines of a log
WANDB = """\
{"_kind": "stats", "_timestamp": 1, "gpu.0.memory": 4.5}
{"_kind": "history", "train/loss": 4.7, "train/learning_rate": 0.1, "train/epoch": 0.01, "train/global_step": 10, "_step": 0}
{"_kind": "history", "train/loss": "NaN", "train/learning_rate": 0.1, "train/epoch": 0.02, "train/global_step": 20, "_step": 1}
"""  # noqa: E501 - lines of a log
JSONL = """\
{"train_lr": 0.0005, "train_loss": 5.4, "test_loss": 5.5, "epoch": 0}
{"train_lr": 0.0005, "train_loss": 5.1, "test_loss": 5.4, "epoch": 1}
"""
HISTORY = json.dumps({"my_run": {"loss": [1.0, 0.9, 0.8], "val_loss": [1.1, 1.0, 0.9], "lr": [0.1, 0.1, 0.1]}})
BY_EPOCH = (
    '{"config": {"lr": 0.1}, "epochs": {"1": {"loss": 1.0, "val_loss": 1.1}, "2": {"loss": 0.9}, "3": {"loss": 0.8}}}'
)
LONG = "key,value,timestamp,step,is_nan\nloss,2.5,17,0,0\nlr,0.1,17,0,0\nloss,2.4,18,1,0\nlr,.1,18,1,0\nloss,0,19,2,1\n"
LONG_JSON = """\
{"step": 0, "name": "train/loss", "value": 2.5}
{"step": 0, "name": "lr", "value": 0.1}
{"step": 1, "name": "train/loss", "value": NaN}
"""
NOTEBOOK = json.dumps({"cells": [
    {"cell_type": "markdown", "source": ["# loss"]},
    {"cell_type": "code", "outputs": [{"output_type": "stream", "text": ["epoch 1 loss 2.5\n", "epoch 2 loss 2.4\n"]}]},
]})  # fmt: skip
CSV = """\
iter;train_loss;val_loss;lr;ms_per_iter
10;4.2;4.3;0.001;2297
20;4.1;;0.001;2297
"""
HF_STDOUT = """\
  0%|          | 1/3000 [01:18<65:22:55, 78.48s/it]
{'loss': 0.3704, 'grad_norm': 0.075, 'learning_rate': 0.000183, 'epoch': 0.43}
 33%|###       | 2/3000 [02:21<57:43:13, 69.31s/it]
{'loss': nan, 'grad_norm': nan, 'learning_rate': 0.000182, 'epoch': 0.44}
{'train_runtime': 611.6, 'train_loss': 3.81, 'epoch': 1.0}
"""
YOLO_STDOUT = (
    "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n"
    "      1/100      2.16G      1.900      3.900      1.80        40        640:  50%|##   | 1/2 [00:01<00:01]\r"
    "      1/100      2.16G      1.800      3.800      1.79        38        640: 100%|#####| 2/2 [00:02<00:00]\n"
    "                 Class     Images  Instances      Box(P          R      mAP50\n"
    "      2/100      2.20G        nan        nan        nan        58        640: 100%|#####| 2/2 [00:02<00:00]\n"
)
YOLO_RESULTS = """\
     0/299    0.816G    0.1048    0.0256         0    0.1304         3       640  0.001616   0.03704 0.0004032
     1/299    0.875G    0.1135   0.02561         0    0.1391         2       640   0.00116    0.1852 0.0002857
"""
PRINTED_TABLE = """\
Logging to /checkpoint
-------------------------
| grad_norm  | 12.8     |
| loss       | 1.99     |
| step       | 10       |
-------------------------
-------------------------
| grad_norm  | 11.1     |
| loss       | nan      |
| step       | 20       |
-------------------------
"""
LLMC = """\
| train data pattern    | dev/data/train_*.bin |
step    1/19560 | loss 10.97 (+nanz)| norm 15.39 (+nanz)| lr 8.57e-07 | 3713.96 ms | 36.4% bf16 MFU | 141167 tok/s
step    2/19560 | loss     nan (+nanz)| norm    nan (+nanz)| lr 1.71e-06 | 3593.92 ms | 37.6% bf16 MFU | 145882 tok/s
"""
NANOGPT = """\
number of parameters: 124.48M
step 0: train loss 10.98, val loss 10.97
iter 0: loss 10.97, time 30.1ms, mfu -100.00%
iter 10: loss 9.51, time 2297.1ms, mfu 17.5%
"""
MEGATRON = """\
 iteration     3383/    8000 | consumed samples:  216512 | learning rate: 6.680E-06 | lm loss: 7.33E-01 | loss scale: 1.0 | grad norm: 0.752 | number of nan iterations:   0 |
 iteration     3384/    8000 | consumed samples:  216576 | learning rate: 6.678E-06 | lm loss: 7.07E-01 | loss scale: 1.0 | grad norm: 0.741 | number of nan iterations:   0 |
 iteration     3385/    8000 | consumed samples:  216640 | learning rate: 6.676E-06 | loss scale: 1.0 | grad norm: 0.9 | number of nan iterations:   0 |
"""  # noqa: E501 - lines of a log
SWIN = """\
[2023-12-21 22:45:01 swin_tiny] (main.py 311): INFO Train: [0/150][280/924]	eta 0:00:23 lr 0.000001	 wd 0.0500	time 0.0339 (0.0359)	loss 2.5000 (2.6000)	grad_norm 1.0 (1.1)	mem 150MB
[2023-12-21 22:45:09 swin_tiny] (main.py 311): INFO Train: [1/150][0/924]	eta 0:00:23 lr 0.000001	 wd 0.0500	time 0.0350 (0.0358)	loss 2.4000 (2.5000)	grad_norm 1.0 (1.1)	mem 150MB
"""  # noqa: E501 - lines of a log
MM_TEXT = """\
2021-05-04 09:53:28,866 - mmdet - INFO - Epoch [1][4400/7330]	lr: 2.000e-02, eta: 19:00:22, time: 0.821, data_time: 0.286, memory: 4705, loss_cls: 0.31, loss: 1.03
2021-05-04 09:54:08,866 - mmdet - INFO - Epoch [1][4450/7330]	lr: 2.000e-02, eta: 18:59:22, time: 0.821, data_time: 0.286, memory: 4705, loss_cls: nan, loss: nan
"""  # noqa: E501 - lines of a log
PRINTS = """\
Epoch [1/50], Loss: 0.3277, Accuracy: 88.73%
[Epoch 1] Validation done: loss=0.148061
Epoch [2/50], Loss: 0.3133, Accuracy: 89.13%
"""

# written by tensorboard 2.21's EventFileWriter: train/loss 2.0, 1.0, NaN at steps 0, 300, 600
TENSORBOARD = base64.b64decode(
    "SAAAAAAAAAD+kkidCXofFO3TwNpBGg1icmFpbi5FdmVudDoyUi4KLHRlbnNvcmJvYXJkLnN1bW1hcnkud3JpdGVyLmV2ZW50X2ZpbGVfd3Jp"
    "dGVyrfTE0R4AAAAAAAAA2dwSMgkAAAAAAADwPyoTChEKCnRyYWluL2xvc3MVAAAAQMoIvpMhAAAAAAAAAAF77PYJAAAAAAAA8D8QrAIqEwoR"
    "Cgp0cmFpbi9sb3NzFQAAgD9CRIN4IQAAAAAAAAABe+z2CQAAAAAAAPA/ENgEKhMKEQoKdHJhaW4vbG9zcxUAAMB/G5nr9Q=="
)

# text, the kind it must be recognised as, and how many training rows it has
ALL = {
    "ultralytics": (ULTRALYTICS, "ultralytics_csv", 3),
    "ultralytics padded": (ULTRALYTICS_PADDED, "ultralytics_csv", 2),
    "yolov5": (YOLOV5, "ultralytics_csv", 2),
    "hugging face state": (HF_STATE, "hf_trainer_state", 3),
    "lightning": (LIGHTNING, "lightning_csv", 3),
    "keras": (KERAS, "keras_csv", 2),
    "mmcv": (MM_JSON, "mm_json", 3),
    "mmengine": (MMENGINE, "mm_json", 2),
    "detectron2": (DETECTRON2, "d2_metrics", 3),
    "wandb": (WANDB, "wandb_history", 2),
    "json lines": (JSONL, "jsonl", 2),
    "json history": (HISTORY, "json_history", 3),
    "json by epoch": (BY_EPOCH, "json_history", 3),
    "long table": (LONG, "long_table", 3),
    "long json lines": (LONG_JSON, "long_jsonl", 2),
    "notebook": (NOTEBOOK, "notebook", 2),
    "csv": (CSV, "csv", 2),
    "hugging face stdout": (HF_STDOUT, "hf_stdout", 2),
    "yolo stdout": (YOLO_STDOUT, "yolo_stdout", 2),
    "yolo results.txt": (YOLO_RESULTS, "yolo_stdout", 2),
    "printed table": (PRINTED_TABLE, "printed_table", 2),
    "llm.c": (LLMC, "text", 2),
    "nanogpt": (NANOGPT, "text", 2),
    "megatron": (MEGATRON, "megatron", 3),
    "swin": (SWIN, "text", 2),
    "mmdetection text": (MM_TEXT, "text", 2),
    "prints": (PRINTS, "text", 2),
    **logs.ALL,
}
