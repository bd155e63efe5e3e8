"""Templates for whole folders of photos."""

from graphs import Column, Node, Note, Template, Wire
from workflow_parts import (
    BLUE,
    DEMO,
    GOLD,
    GREEN,
    MEAN,
    VIOLET,
    load_flow,
    load_mean,
    mean,
    sampler,
    trade_off,
)

FOLDER_OF_PHOTOS = Template(
    "restore_photo_folder",
    (
        Column({"photo": Node("RestoreFlowJobPhoto")}, "1. Your photos", BLUE),
        Column(
            {"load mean": load_mean(DEMO), "mean": mean(Wire("photo", "image"))},
            "2. Faithful",
            VIOLET,
        ),
        Column({"load flow": load_flow(DEMO), "sampler": sampler()}, "3. Lifelike", GREEN),
        Column(
            {
                "trade-off": trade_off(0.5, MEAN),
                "compare": Node(
                    "RestoreFlowBeforeAfter",
                    {"before": Wire("photo", "image"), "after": Wire("trade-off", "image")},
                ),
            },
            "4. Your choice between the two",
            GOLD,
        ),
        Column(
            {
                "save": Node(
                    "RestoreFlowSaveRestoredPhoto",
                    {"image": Wire("trade-off", "image"), "photo": Wire("photo", "photo")},
                )
            },
            "5. Saved like the photo",
            BLUE,
        ),
    ),
    (
        Note(
            "How to use this workflow",
            """
# Restore a folder of photos

1. Press **Run** to try the graph: **Job Photo** shows the first photo of ComfyUI's input folder, or
   of the **folder** that you name.
2. Open **Photo jobs** in the sidebar. Choose a folder, or drop photos on it.
3. **Try three photos**, look at them, then **Start**.

The photos are restored one by one while you go on working. What is done is on the disk, with its
name, folder, date, place and colours. A photo that cannot be read fails alone, and the list says
why. Close the browser, restart ComfyUI, pull the plug: the job goes on where it was.

### With your own graph

Any graph becomes a job: put **Job Photo** where Load Image stands and **Save Restored Photo** where
Save Image stands, and wire **photo** from the one to the other.

Folders other than ComfyUI's input and output must be allowed once, on the machine itself:
`python run.py allow FOLDER`. The sidebar shows the command.

### Limits

The demo weights in this template remove Gaussian noise of about 25/255, nothing else.
""",
        ),
    ),
)

TEMPLATES = (FOLDER_OF_PHOTOS,)
